"""A comparison of methods as a page: the table, classes, learning curves, detections."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..comparison import Row
from ..curves import LOSSES
from ..finished import Scored, most_of
from ..paired import Difference, mean_and_deviation
from ..scalars import RunScalars, read_scalars
from .gallery import LEAST_SCORE, MOST_DETECTIONS, make_gallery
from .page import MOST_BYTES, Cell, Chart, Curve, Page, Section, Table, as_cell

_LIMIT = f'the pictures of a page take {MOST_BYTES / 1e6:.0f} MB at most'
_MOST_POINTS = 100  # of a curve
_HOW_TO_READ = (
    'Scores are the mean ± standard deviation (seeds), differences are paired by seed with their '
    '95% intervals, all in points of 100. Over seeds: would other initial weights and orders of '
    'the data show it too? Over images: would other images show it too, for these very models? A '
    'difference is within noise where 0 lies in its interval; needed is how many seeds or images, '
    'in all, would show a true difference of 0.5 in 4 of 5 studies.'
)


def comparison_page(
    metric: str,
    rows: Sequence[Row],
    runs: Sequence[Scored],
    scored_on: str,
    num_images: int = 24,
    images: Path | None = None,
    annotations: Path | None = None,
    group: str = 'variant',
    beside: Mapping[str, Mapping[tuple[str, str], str]] | None = None,
) -> Page:
    """Make a page of what :func:`compare` returned.

    Args:
        metric: that was compared.
        rows: of all methods.
        runs: that they are of.
        scored_on: what the runs were scored on, in words.
        num_images: of the gallery, at most.
        images: folder of the images, in place of that of the runs' config.
        annotations: what detections are evaluated on; None: as the runs say.
        group: what the rows' groups are.
        beside: further columns: title → (group, method) → cell.

    Raises:
        ValueError: annotations or detections cannot be read.
    """
    seeds = sorted({run.seed for run in runs})
    sections = [Section('Methods', _HOW_TO_READ, [_methods(rows, group, beside or {})])]
    if any(row.classes for row in rows):
        sections.append(_classes(metric, rows))
    sections += [
        _curves(metric, runs),
        _gallery(runs, num_images, images, annotations),
    ]
    return Page(
        f'{metric} of the {scored_on}, method by method',
        [verdict for row in rows for verdict in row.verdicts()],
        sections,
        {'runs': len(runs), 'seeds': ', '.join(map(str, seeds))},
    )


# -- tables ------------------------------------------------------------------


def _methods(
    rows: Sequence[Row], group: str, beside: Mapping[str, Mapping[tuple[str, str], str]]
) -> Table:
    has_groups = any(row.group for row in rows)
    units = [unit for unit in ('seed', 'image') if any(getattr(r, f'over_{unit}s') for r in rows)]
    columns = ['method', *[group] * has_groups, 'score', *beside]
    for unit in units:
        columns += [f'difference over {unit}s', f'{unit}s needed']
    cells = []
    for row in rows:
        compared = f'compared with {row.baseline}' if row.baseline else ''
        line = [Cell(row.method, row.method, note=compared)]
        line += [*[Cell(row.group, row.group)] * has_groups, _score(row)]
        line += [as_cell(cells.get((row.group, row.method), '–')) for cells in beside.values()]
        for unit in units:
            difference = getattr(row, f'over_{unit}s')
            line += [_difference(difference), _needed(difference)]
        cells.append(line)
    return Table('Scores and paired differences', columns, cells)


def _classes(metric: str, rows: Sequence[Row]) -> Section:
    """A table for each group: a class a row, scores of all methods, then their differences."""
    tables = []
    for group in dict.fromkeys(row.group for row in rows if row.classes):
        members = [row for row in rows if row.classes and row.group == group]
        compared = [row for row in members if row.baseline]
        names = dict.fromkeys(name for row in members for name in row.classes)
        columns = ['class', *(f'{row.method} − {row.baseline}' for row in compared)]
        columns += [row.method for row in members]
        lines = [
            [
                Cell(name, name),
                *(_best(row.classes.get(name)) for row in compared),
                *(_score(row.classes.get(name)) for row in members),
            ]
            for name in names
        ]
        tables.append(Table(f'Each class, {metric}{group and f", {group}"}', columns, lines))
    text = (
        'Differences with their intervals, over images where there are any, else over seeds. '
        'Of twenty classes one interval leaves out 0 by chance alone.'
    )
    return Section('Classes', text, tables)


def _score(row: Row | None) -> Cell:
    if row is None or not row.scores:
        return Cell('–')
    values = list(row.scores.values())
    return Cell(mean_and_deviation(values), statistics.fmean(values))


def _best(row: Row | None) -> Cell:
    return Cell('–') if row is None else _difference(row.over_images or row.over_seeds)


def _difference(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell('–')
    if difference.low is None or difference.high is None:
        number = 'one' if difference.number == 1 else f'the same in all {difference.number:,}'
        plural = 's' * (difference.number > 1)
        return Cell(f'{difference}', difference.mean, note=f'{number} {difference.unit}{plural}')
    is_noise = difference.is_noise
    return Cell(
        f'{difference}',
        difference.mean,
        (difference.low, difference.high),
        difference.mean,
        'within noise' if is_noise else 'beyond noise',
        '' if is_noise else 'up' if difference.mean > 0 else 'down',
    )


def _needed(difference: Difference | None) -> Cell:
    if difference is None or difference.needed is None:
        return Cell('–')
    return Cell(f'{difference.needed:,}', difference.needed)


# -- learning curves ---------------------------------------------------------


def _curves(metric: str, runs: Sequence[Scored]) -> Section:
    title = 'Learning curves'
    if not any(run.work_dir for run in runs):
        return Section(title, 'They are drawn from the logs of work dirs, and there are none.')
    logs = [(run, read_scalars(run.work_dir)) for run in runs if run.work_dir]
    # By what was logged: what it is, what it is over, and by what it is multiplied.
    shown = {metric: (f'{metric}, points of 100', 'step of validation', 100 / most_of(metric))}
    shown |= {name: (told.replace('\n', ' '), 'iteration', 1.0) for name, told in LOSSES.items()}
    charts = []
    for group in dict.fromkeys(run.group for run, _ in logs):
        methods: dict[str, list[RunScalars]] = {}
        for run, scalars in logs:
            if run.group == group:
                methods.setdefault(run.method, []).append(scalars)
        for name, (told, step, scale) in shown.items():
            curves = [
                curve
                for look, (method, own) in enumerate(methods.items())
                if (curve := _curve(method, look, own, name, scale))
            ]
            if curves:
                charts.append(Chart(f'{group}: {told}' if group else told, step, curves))
    text = (
        'On validation images, and on batches of the training. Lines are means over seeds, bands '
        'reach from the lowest seed to the highest.'
    )
    return Section(title, text if charts else 'The runs logged none.', charts, is_grid=True)


def _curve(
    method: str, look: int, logs: Sequence[RunScalars], name: str, scale: float
) -> Curve | None:
    """The mean of the seeds that logged it, at the steps that all of them logged."""
    # MMDetection logs -1 where there was nothing to measure.
    series = [
        {step: value for step, value in zip(*log.series(name), strict=True) if value != -1}
        for log in logs
    ]
    series = [each for each in series if each]
    if not series:
        return None
    steps = sorted(set.intersection(*map(set, series)))
    if not steps:
        return None
    values = scale * np.array([[each[step] for step in steps] for each in series], dtype=float)
    steps = np.array(steps, dtype=float)
    if len(steps) > _MOST_POINTS:  # means of as many stretches
        parts = np.array_split(np.arange(len(steps)), _MOST_POINTS)
        steps = np.array([steps[part[-1]] for part in parts])
        values = np.stack([values[:, part].mean(1) for part in parts], axis=1)
    known = np.isfinite(values).all(0)
    if not known.any():
        return None
    steps, values = steps[known], values[:, known]
    lines = steps, values.mean(0), values.min(0), values.max(0)
    note = f'mean of {len(series)} seeds' if len(series) > 1 else 'one seed'
    return Curve(method, *(line.tolist() for line in lines), note, look)


# -- gallery ---------------------------------------------------------


def _gallery(
    runs: Sequence[Scored], number: int, images: Path | None, annotations: Path | None
) -> Section:
    """The truth, and what the first run of each method says of some of the images."""
    shown: dict[str, Scored] = {}
    for run in runs:
        name = '/'.join(filter(None, (run.group, run.method)))
        if run.detections and (name not in shown or run.seed < shown[name].seed):
            shown[name] = run
    title = 'Detections'
    if not shown or not number:
        text = 'They are those of tests that wrote them (.bbox.json), and there are none.'
        return Section(title, text)
    truths = {run.annotations for run in shown.values()} if annotations is None else {annotations}
    truth = truths.pop()
    if truths or truth is None or not truth.is_file():
        text = 'What they are evaluated on is not there, or not one file; --annotations names it.'
        return Section(title, text)
    folders = [run.images for run in shown.values() if run.images]
    folder = images or next(iter(folders), None)
    files = {name: run.detections for name, run in shown.items()}
    gallery, total = make_gallery(truth, files, folder, number)
    seeds = sorted({run.seed for run in shown.values()})
    text = (
        f'{len(gallery.pictures):,} of {total:,} images, evenly spread over the annotations, and '
        f'what the runs of seed {", ".join(map(str, seeds))} detect in them: what scores '
        f'{LEAST_SCORE} or more, of an image {MOST_DETECTIONS} boxes at most.'
    )
    if len(gallery.pictures) < min(number, total):
        text += f' {number:,} were asked for; {_LIMIT}.'
    if not all(picture.uri for picture in gallery.pictures):
        text += ' Where a file was not found the ground is plain; --image-root names the folder.'
    return Section(title, text, [gallery])

"""Methods beside each other: means over seeds, paired differences, and what may be said of them."""

import dataclasses
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sortkd_det.files import write_json

from .coco_bootstrap import COCO_METRICS, Resampled
from .finished import Scored, class_points, in_points, main_metric
from .paired import Difference, mean_and_deviation, over_images, over_seeds
from .settings import differing

_ROUNDED = 0.051  # points; MMDetection logs three decimals


@dataclass(frozen=True)
class Row:
    """A method and what it is compared with; all numbers in points of 100.

    Attributes:
        group: that it is compared within.
        method: its name.
        scores: seed → score.
        baseline: the other method; None: this one is the baseline.
        over_seeds: the difference and its interval, if they share seeds.
        over_images: likewise over draws of images, the trained models being what they are; the
            mean over the seeds that both have.
        classes: class → score and differences, where there are detections, or scores of classes
            were logged.
        notes: what is to be known besides, in sentences: settings in which its runs differ from
            each other, or from those of its baseline in more than the method.
    """

    group: str
    method: str
    scores: Mapping[int, float]
    baseline: str | None = None
    over_seeds: Difference | None = None
    over_images: Difference | None = None
    classes: Mapping[str, 'Row'] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def verdicts(self) -> list[str]:
        """What may be said of it, a sentence for each kind of chance, and the notes."""
        name = f'{self.group}: {self.method}' if self.group else self.method
        if self.baseline and self.over_seeds is None:
            missing = f'{name} − {self.baseline}: not compared, for they have no seed in common'
            return [missing, *self.notes]
        said = [
            f'{name} − {self.baseline} over {each.unit}s {each}: {each.verdict()}'
            for each in (self.over_seeds, self.over_images)
            if each is not None
        ]
        return [*said, *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        scores = list(self.scores.values())
        return dict(
            group=self.group,
            method=self.method,
            scores=dict(self.scores),
            mean=statistics.fmean(scores) if scores else None,
            deviation=statistics.stdev(scores) if len(scores) > 1 else None,
            baseline=self.baseline,
            over_seeds=_plain(self.over_seeds),
            over_images=_plain(self.over_images),
            classes={name: row.as_dict() for name, row in self.classes.items()},
            notes=list(self.notes),
        )


def _plain(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    said = dict(is_noise=difference.is_noise, verdict=difference.verdict())
    return {**dataclasses.asdict(difference), **said}


def read_baselines(entries: Sequence[str], methods: Sequence[str]) -> dict[str, str | None]:
    """Which method each is compared with; None: with none.

    Args:
        entries: a method that all others are compared with, and exceptions
            ``METHOD=BASELINE``, where no baseline means that there is none.
        methods: all of them.

    Raises:
        ValueError: an entry names another method.
    """
    default, exceptions = None, {}
    for entry in entries:
        method, given, baseline = entry.partition('=')
        for name in filter(None, (method, baseline)):
            if name not in methods:
                raise ValueError(
                    f'--baseline {entry}: there is no method {name}; expected one of '
                    f'{", ".join(methods)}'
                )
        if given:
            exceptions[method] = baseline or None
        else:
            default = method
    return {m: exceptions.get(m, default) for m in methods if m != default}


def compare(
    runs: Sequence[Scored],
    baselines: Mapping[str, str | None],
    metric: str | None = None,
    draws: int = 0,
    annotations: Path | None = None,
) -> tuple[str, list[Row]]:
    """Compare runs with those of their baseline of the same group and seed.

    Args:
        runs: of all methods, in the order of the rows.
        baselines: method → the one it is compared with.
        metric: name of a logged metric; None: the main one.
        draws: of images, where all runs have detections and the metric is one of
            :data:`COCO_METRICS`; 0: none.
        annotations: what detections are evaluated on; None: as the runs say.

    Returns:
        The metric, and the rows.

    Raises:
        FileNotFoundError: there are no such annotations.
        ValueError: runs lack the metric, or what was logged is not what the detections give.
    """
    has_metrics = all(run.metrics for run in runs)
    metric = metric or (main_metric(runs[0].metrics) if has_metrics else next(iter(COCO_METRICS)))
    resampled: dict[tuple[str, str, int], Resampled] = {}
    names: list[str] = []
    num_images = 0
    if not has_metrics and metric not in COCO_METRICS:
        raise ValueError(f'files of detections give {", ".join(COCO_METRICS)}; not {metric}')
    has_detections = metric in COCO_METRICS and all(run.detections is not None for run in runs)
    if not has_metrics or (draws and has_detections):
        from .detections import TestSet

        test_set = TestSet(_annotations(runs, annotations), draws, runs[0].classes, metric=metric)
        names, num_images = test_set.class_names, test_set.num_images
        for run in runs:
            scored = test_set.score(run.detections)
            _check_logged(run, metric, float(scored.ap[0]))
            resampled[run.group, run.method, run.seed] = scored
        if test_set.num_without:
            warnings.warn(
                f'no run has a detection in {test_set.num_without} of the {num_images} images of '
                f'{test_set.path}; are these the annotations of the images that were tested?',
                stacklevel=2,
            )
        if runs[0].classes is None and test_set.classes_without:
            unfound = test_set.classes_without
            warnings.warn(
                f'no run has a detection of {len(unfound)} of the {len(names)} classes of '
                f'{test_set.path}: {", ".join(unfound[:5])}{" …" if unfound[5:] else ""}. Each '
                'counts with an AP of 0; if the detectors do not know them, take these categories '
                'out of a copy of the file',
                stacklevel=2,
            )

    def score(run: Scored) -> float:
        key = run.group, run.method, run.seed
        return float(resampled[key].ap[0]) if resampled else in_points(run, metric)

    scores: dict[tuple[str, str], dict[int, float]] = {}
    for run in runs:
        scores.setdefault((run.group, run.method), {})[run.seed] = score(run)
    rows = []
    for (group, method), own in scores.items():
        baseline = baselines.get(method)
        other = scores.get((group, baseline), {}) if baseline else {}
        row = Row(group, method, own, baseline, over_seeds(own, other))
        common = sorted(set(own) & set(other))
        if resampled:
            mine = {seed: resampled[group, method, seed] for seed in own}
            others = {seed: resampled[group, baseline, seed] for seed in common}
            row = _with_images(row, mine, others, names, num_images, draws)
        else:
            row = _with_logged_classes(row, runs, metric)
        rows.append(dataclasses.replace(row, notes=_notes(row, runs)))
    return metric, rows


def _notes(row: Row, runs: Sequence[Scored]) -> list[str]:
    """Where settings differ: from seed to seed, and from the baseline's in more than the method."""
    own, other = (
        [run for run in runs if (run.group, run.method) == (row.group, method)]
        for method in (row.method, row.baseline)
    )
    notes, first = [], own[0]
    for run in own[1:]:
        if names := differing(first.settings, run.settings, method=True):
            notes.append(
                f'{first.name} and {run.name} are runs of other settings, and their mean is of no '
                f'one method: they differ in {names}'
            )
    pairs = [(run, twin) for run in own for twin in other if run.seed == twin.seed]
    for run, twin in pairs[:1]:
        if names := differing(run.settings, twin.settings, method=False):
            notes.append(f'{run.name} and {twin.name} differ in more than the method: {names}')
    return notes


def _annotations(runs: Sequence[Scored], given: Path | None) -> Path:
    """The file that all runs are evaluated on."""
    named = {given} if given else {run.annotations for run in runs}
    path = named.pop()
    if path is None or named:
        raise ValueError(
            'what the detections are evaluated on is not known, or not one file; name it with '
            '--annotations'
        )
    if not path.is_file():
        raise FileNotFoundError(f'annotations {path} do not exist; name them with --annotations')
    return path


def _check_logged(run: Scored, metric: str, ap: float) -> None:
    """Refuse detections that do not give what the test of the same run logged."""
    logged = run.metrics.get(metric)
    if logged is not None and abs(100 * logged - ap) > _ROUNDED:
        raise ValueError(
            f'{run.name}: its detections {run.detections} have a {metric} of {ap:.2f}, and its '
            f'test logged {100 * logged:.1f}; they are not of one test, or of other annotations '
            'or classes'
        )


def _with_logged_classes(row: Row, runs: Sequence[Scored], metric: str) -> Row:
    """The row with a row for each class that all its runs, and its baseline's, have logged."""
    points = {
        (run.method, run.seed): class_points(run, metric)
        for run in runs
        if run.group == row.group and run.method in (row.method, row.baseline)
    }
    classes = {}
    for name in next(iter(points.values())):
        if not all(name in each for each in points.values()):
            continue
        own, other = (
            {seed: each[name] for (method, seed), each in points.items() if method == wanted}
            for wanted in (row.method, row.baseline)
        )
        classes[name] = Row(row.group, name, own, row.baseline, over_seeds(own, other))
    return dataclasses.replace(row, classes=classes)


def _with_images(
    row: Row,
    mine: Mapping[int, Resampled],
    others: Mapping[int, Resampled],
    names: Sequence[str],
    num_images: int,
    draws: int,
) -> Row:
    """The row with what resampled images say, and a row for each class with something to find."""

    def difference(values: NDArray[np.float64]) -> Difference | None:
        """[1 + draws] of a paired difference; draws without anything to find tell nothing."""
        known = values[1:][np.isfinite(values[1:])]
        # Where many draws lack a class, those that do not are no fair sample.
        is_told = draws > 1 and len(known) >= 0.95 * draws
        return over_images(float(values[0]), known, num_images) if is_told else None

    def mean_difference(select: Any) -> NDArray[np.float64]:
        return np.mean([select(mine[seed]) - select(others[seed]) for seed in others], axis=0)

    classes = {}
    for index, name in enumerate(names):
        own = {seed: float(each.classes[0, index]) for seed, each in mine.items()}
        if not np.isfinite(list(own.values())).all():
            continue
        other = {seed: float(each.classes[0, index]) for seed, each in others.items()}
        images = difference(mean_difference(lambda r, k=index: r.classes[:, k])) if others else None
        classes[name] = Row(row.group, name, own, row.baseline, over_seeds(own, other), images)
    images = difference(mean_difference(lambda r: r.ap)) if others else None
    return dataclasses.replace(row, over_images=images, classes=classes)


def show(
    rows: Sequence[Row],
    title: str,
    group: str = 'group',
    beside: Mapping[str, Mapping[tuple[str, str], str]] | None = None,
) -> None:
    """Print a table of all rows, one of the classes where there are any, and what may be said.

    Args:
        rows: from :func:`compare`.
        title: stands above.
        group: what the rows' groups are, as the head of their column.
        beside: further columns: title → (group, method) → cell.
    """
    beside = beside or {}
    # Names may look like rich's markup, and are text.
    width = None if sys.stdout.isatty() else 140
    console = Console(width=width, markup=False, emoji=False)
    console.print(_table(rows, title, group, beside))
    for row in rows:
        if row.classes and row.baseline:
            title = ' '.join(filter(None, (row.group, row.method, 'by class')))
            console.print(_table(list(row.classes.values()), title, group, {}, 'class'))
    for row in rows:
        for verdict in row.verdicts():
            print(verdict)


def _table(
    rows: Sequence[Row],
    title: str,
    group: str,
    beside: Mapping[str, Mapping[tuple[str, str], str]],
    method: str = 'method',
) -> Table:
    has_groups = method == 'method' and any(row.group for row in rows)
    has_images = any(row.over_images for row in rows)
    table = Table(title=title, title_justify='left')
    columns = [group] * has_groups + [method, 'ours', *beside]
    columns += ['paired difference, 95% interval']
    columns += ['over images, 95% interval'] * has_images
    for column in columns:
        table.add_column(column)
    for row in rows:
        cells = [row.group] * has_groups + [row.method, mean_and_deviation([*row.scores.values()])]
        cells += [column.get((row.group, row.method), '-') for column in beside.values()]
        cells += [f'to {row.baseline}: {row.over_seeds}' if row.over_seeds else '-']
        cells += [f'{row.over_images}' if row.over_images else '-'] * has_images
        table.add_row(*cells)
    return table


def save(path: Path, metric: str, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Write a comparison as JSON, scores by seed included, in points of 100."""
    write_json(path, dict(metric=metric, **facts, rows=[row.as_dict() for row in rows]))

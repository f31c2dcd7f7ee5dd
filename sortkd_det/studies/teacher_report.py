"""Tables and pictures of what a teacher says of its training set."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from sortkd_det.classification.confusion import draw_confusion
from sortkd_det.figures import save_figure

from .teacher_analysis import LITTLE, NUM_BINS, ClassRow, Group, TeacherAnalysis

_MOST_CLASSES = 20  # in a table or a picture, of those with the most errors
_MOST_CONFUSIONS = 10
#: What the probabilities of a row are those of.
STATES = {'': 'teacher', 'sort': 'sorted', 'sort of classes': 'classes sorted'}


def show(analysis: TeacherAnalysis) -> None:
    """Print the tables; names of classes are text, also where they look like rich's markup."""
    tables = [group_table(analysis), class_table(analysis)]
    if analysis.by_iou:
        tables.insert(1, iou_table(analysis))
    if analysis.confusions:
        tables.append(confusion_table(analysis))
    Console(markup=False, emoji=False).print(*tables, sep='\n')


def group_table(analysis: TeacherAnalysis) -> Table:
    """A question a row, a kind of rows a column; what is moved is probability."""
    groups = analysis.groups
    table = _table('the teacher on training rows')
    table.add_column('', no_wrap=True)
    for name in groups:
        table.add_column(name, justify='right', no_wrap=True)

    def add(question: str, *cells: str) -> None:
        table.add_row(question, *cells)

    every = groups.values()
    add('rows', *(str(group.rows) for group in every))
    add('error, %', *(_percent(group.error) for group in every))
    add('label at rank 2, %', *(_percent(_share_at(group, 1, 2)) for group in every))
    add('label at rank 3 or lower, %', *(_percent(_share_at(group, 2, None)) for group in every))
    add('mean rank of the label', *(_number(group.mean_rank) for group in every))
    if analysis.background is not None:
        add('background on top, %', *(_percent(g.as_background / g.rows) for g in every))
    add('mean confidence, %', *(_percent(group.confidence) for group in every))
    add('calibration error, %', *(_percent(group.ece) for group in every))
    for name in analysis.change_names:
        changes = [group.changes[name].as_dict() for group in every]
        add(f'{name}: changed, %', *(_percent(c['share_changed']) for c in changes))
        add(
            '  moved in changed rows, %',
            *(_percent(change['moved_per_changed_row']) for change in changes),
        )
        if 'sort of classes' in analysis.change_names and name != 'sort of classes':
            add(
                "  of it background's, %",
                *(_percent(change['share_from_background']) for change in changes),
            )
    return table


def class_table(analysis: TeacherAnalysis, most: int | None = _MOST_CLASSES) -> Table:
    """A class a row, those with the most errors first; of ``most`` classes, None: of all."""
    rows = analysis.classes
    shown = rows[:most]
    more = '' if shown == rows else f'; {len(shown)} of {len(rows)}, all are in the JSON'
    has_truth = any(row.truth_rows for row in rows)
    table = _table(f'classes, those with the most errors first{more}')
    table.add_column('class', no_wrap=True)
    for name in ('rows', 'error, %', *(('GT boxes', 'GT error, %') if has_truth else ())):
        table.add_column(name, justify='right', no_wrap=True)
    table.add_column('most often taken for')
    for row in shown:
        truth = (str(row.truth_rows), _percent(row.truth_error)) if has_truth else ()
        table.add_row(row.name, str(row.rows), _percent(row.error), *truth, _taken_for(row))
    return table


def iou_table(analysis: TeacherAnalysis) -> Table:
    """Sampled rows by their overlap with an object; without rows where that is not known."""
    table = _table(
        'sampled rows by IoU with an object: shares, and probability of the label, %',
        padding=(0, 1, 0, 0),
    )
    table.add_column('IoU', no_wrap=True)
    states = [name for name in STATES if name in ('', *analysis.change_names)]
    # Broken here, as 80 columns are just enough.
    shares = ('rows', 'share', 'label\non top', 'background\non top')
    for name in (*shares, *(STATES[name].replace(' ', '\n') for name in states)):
        table.add_column(name, justify='right')
    for row in analysis.by_iou:
        shares = (row.share, row.label_on_top, row.as_background)
        table.add_row(
            f'{row.kind} {row.low:.1f}–{row.high:.1f}',
            str(row.rows),
            *map(_percent, (*shares, *(row.probability[name] for name in states))),
        )
    return table


def confusion_table(analysis: TeacherAnalysis) -> Table:
    """Who is taken for whom, the most rows first; without rows where the teacher has none wrong."""
    found = analysis.confusions
    table = _table('the commonest confusions')
    table.add_column('label', no_wrap=True)
    table.add_column('taken for', no_wrap=True)
    for name in ('rows', '% of the label'):
        table.add_column(name, justify='right', no_wrap=True)
    for each in found[:_MOST_CONFUSIONS]:
        share = _percent(each['share_of_label'])
        table.add_row(each['label'], each['taken_for'], str(each['rows']), share)
    return table


def draw(analysis: TeacherAnalysis, folder: Path) -> list[Path]:
    """Draw ``teacher.png`` (ranks, calibration, classes, what is moved), ``confusion.png``.

    Args:
        analysis: what was counted.
        folder: which exists.

    Returns:
        The paths of both.
    """
    figure = Figure(figsize=(13, 9), dpi=110, layout='constrained')
    (ranks, calibration), (classes, changes) = figure.subplots(2, 2)
    _draw_ranks(ranks, analysis)
    _draw_calibration(calibration, analysis)
    _draw_classes(classes, analysis)
    _draw_changes(changes, analysis)
    for axes in (ranks, calibration, classes, changes):
        axes.spines[['top', 'right']].set_visible(False)
    path = folder / 'teacher.png'
    save_figure(figure, path)
    confusion = draw_confusion(analysis.confusion, analysis.names, folder / 'confusion.png')
    return [path, confusion]


def _draw_ranks(axes: Axes, analysis: TeacherAnalysis) -> None:
    groups = analysis.groups
    labels = ['1', '2', '3', '4', '5 or lower']
    width = 0.8 / len(groups)
    for index, (name, group) in enumerate(groups.items()):
        ends = [(0, 1), (1, 2), (2, 3), (3, 4), (4, None)]
        heights = [100 * (_share_at(group, *each) or 0) for each in ends]
        places = np.arange(len(labels)) + (index - (len(groups) - 1) / 2) * width
        bars = axes.bar(places, heights, width, label=name)
        axes.bar_label(bars, [f'{h:.1f}' if h >= 0.05 else '' for h in heights], fontsize=7)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_title('where the label stands', loc='left')
    axes.set_xlabel('rank of the label')
    axes.set_ylabel('% of rows')
    axes.legend(frameon=False)


def _draw_calibration(axes: Axes, analysis: TeacherAnalysis) -> None:
    axes.plot([0, 100], [0, 100], color='#999999', linestyle=':', label='calibrated')
    for name, group in analysis.groups.items():
        seen = group.bins[:, 0] > 0
        rows, confidence, hits = group.bins[seen].T
        axes.plot(
            100 * confidence / rows,
            100 * hits / rows,
            marker='o',
            markersize=4,
            label=f'{name} (ECE {_percent(group.ece)} %)',
        )
    axes.set_title(f'calibration, {NUM_BINS} bins of confidence', loc='left')
    axes.set_xlabel("the teacher's largest probability, %")
    axes.set_ylabel('label on top, % of rows')
    axes.legend(frameon=False)


def _draw_classes(axes: Axes, analysis: TeacherAnalysis) -> None:
    rows = [row for row in analysis.classes if row.error is not None][:_MOST_CLASSES]
    places = range(len(rows))
    bars = axes.barh(places, [100 * row.error for row in rows], color='#0072b2')
    axes.set_yticks(places, [row.name for row in rows], parse_math=False)  # a name may hold a $
    axes.bar_label(bars, [f'{100 * row.error:.1f}' for row in rows], fontsize=8, padding=2)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_title('error by class', loc='left')
    axes.set_xlabel('label not on top, % of rows')


def _draw_changes(axes: Axes, analysis: TeacherAnalysis) -> None:
    groups = analysis.groups
    names = analysis.change_names
    width = 0.8 / len(groups)
    for index, (name, group) in enumerate(groups.items()):
        moved = [100 * (group.changes[each].as_dict()['moved_per_row']) for each in names]
        places = np.arange(len(names)) + (index - (len(groups) - 1) / 2) * width
        bars = axes.bar(places, moved, width, label=name)
        axes.bar_label(bars, [f'{each:.2f}' for each in moved], fontsize=8)
    axes.axhline(100 * LITTLE, color='#999999', linestyle=':', label='less than this is little')
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.4 * max(axes.get_ylim()[1], 1))  # room for the legend
    axes.set_title('probability that is moved, mean of all rows', loc='left')
    axes.set_ylabel('% of the probability of a row')
    axes.legend(frameon=False, ncols=2)


def _table(title: str, **options: Any) -> Table:
    look = dict(title_justify='left', box=box.SIMPLE_HEAD, pad_edge=False)
    return Table(title=title, **look, **options)


def _share_at(group: Group, first: int, end: int | None) -> float | None:
    return float(group.ranks[first:end].sum() / group.rows) if group.rows else None


def _taken_for(row: ClassRow) -> str:
    return '–' if row.taken_for is None else f'{row.taken_for[0]} ({row.taken_for[1]})'


def _percent(value: float | None) -> str:
    return '–' if value is None else f'{100 * value:.1f}'


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.2f}'

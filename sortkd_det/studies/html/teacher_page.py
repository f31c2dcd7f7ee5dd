"""A look at a teacher as a page: its rows, its confusions, and what sorting does to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..teacher_analysis import TeacherAnalysis
from ..teacher_examples import Example
from ..teacher_report import STATES, class_table, confusion_table, group_table, iou_table
from .page import MOST_BYTES, Bars, Matrix, Page, Section, Table

_MOST_CLASSES = 20  # of a matrix
_MOST_SIDE_BY_SIDE = 8  # classes of matrices that stand beside each other
_MARKUP = 1000  # bytes of a column of an example, with its bars
_MOST_COLUMNS = 5  # of an example, beside the label
_MATRICES = {
    '': 'as the teacher says it',
    'sort': 'all columns sorted',
    'sort of classes': 'classes sorted',
}


def teacher_page(
    analysis: TeacherAnalysis,
    examples: Sequence[Example],
    facts: Mapping[str, Any],
    most_bytes: int = MOST_BYTES,
) -> Page:
    """Make a page of what was counted.

    Args:
        analysis: of the teacher.
        examples: rows that sorting changes, those in which it moves the most first.
        facts: what was looked at: name → value.
        most_bytes: of the examples; of more those in which the least moves are left out.
    """
    verdict = analysis.verdict().replace(' %', '\N{NO-BREAK SPACE}%')
    return Page(
        'The teacher on its training set',
        [f'{verdict[0].upper()}{verdict[1:]}.'],
        [
            Section('Rows', '', _row_tables(analysis)),
            Section('Classes', '', _class_tables(analysis)),
            _confusion(analysis),
            _examples(analysis, examples, most_bytes),
        ],
        facts,
    )


def _row_tables(analysis: TeacherAnalysis) -> list[Table]:
    tables = [group_table(analysis), *([iou_table(analysis)] if analysis.by_iou else [])]
    return [Table.of(table, is_sortable=False) for table in tables]


def _class_tables(analysis: TeacherAnalysis) -> list[Table]:
    tables = [class_table(analysis, most=None)]
    tables += [confusion_table(analysis)] if analysis.confusions else []
    return [Table.of(table) for table in tables]


def _confusion(analysis: TeacherAnalysis) -> Section:
    """All rows, as they are and as sorting leaves them."""
    every = analysis.every
    counts = {'': every.confusion}
    counts |= {name: every.changes[name].confusion for name in _changes(analysis)}
    names = analysis.names
    # Dense heads are read on objects alone, where background is no column: it has nothing then.
    has_counts = sum(matrix + matrix.T for matrix in counts.values()).any(0)
    columns = [k for k in range(len(names)) if k != analysis.background or has_counts[k]]
    shown = _most_confused(every.confusion, columns)
    text = (
        'Labels are rows, and in a row stands what has the largest logit, in % of all rows of '
        'that label.'
    )
    if len(shown) < len(columns):
        text += f' Of {len(columns)} columns the {len(shown)} with the most confusions are shown.'
    if 'sort of classes' in counts:
        text += ' Where classes are sorted, background keeps its logit.'
    matrices = [
        Matrix(
            _MATRICES[name],
            [names[column] for column in shown],
            _percents(matrix)[np.ix_(shown, shown)].tolist(),
        )
        for name, matrix in counts.items()
    ]
    is_grid = len(shown) <= _MOST_SIDE_BY_SIDE
    return Section('Confusion before and after sorting', text, matrices, is_grid)


def _changes(analysis: TeacherAnalysis) -> list[str]:
    return [name for name in STATES if name in analysis.change_names]


def _most_confused(counts: NDArray, columns: Sequence[int]) -> list[int]:
    """Those of the columns of a matrix, in their order; of many those with the most errors."""
    wrong = counts - np.diag(np.diag(counts))
    errors = wrong.sum(0) + wrong.sum(1)
    return sorted(sorted(columns, key=lambda column: -errors[column])[:_MOST_CLASSES])


def _percents(counts: NDArray) -> NDArray:
    return 100 * counts / counts.sum(1, keepdims=True).clip(min=1)


def _examples(analysis: TeacherAnalysis, examples: Sequence[Example], most_bytes: int) -> Section:
    title = 'Rows that sorting changes'
    if not examples:
        return Section(title, 'None were found, or none were asked for.')
    changed = analysis.objects.changes['sort'].changed
    text = (
        f'{len(examples)} of {changed:,} on objects: those in which the most probability moves, '
        'one of an image at most; a wrong label would be among them. Below a probability stands '
        'its logit.'
    )
    shown = [_bars(analysis, each) for each in examples]
    sizes = np.cumsum([len(each.picture) + _MARKUP * (1 + len(each.rows)) for each in shown])
    fitting = shown[: int((sizes <= most_bytes).sum())]
    if len(fitting) < len(shown):
        text += f' Pictures of {len(fitting)} are all that {most_bytes / 1e6:.0f} MB hold.'
    return Section(title, text, fitting, is_grid=True)


def _bars(analysis: TeacherAnalysis, example: Example) -> Bars:
    names = analysis.names
    states = ['', *_changes(analysis)]
    before = example.probabilities['']
    order = np.argsort(-before, kind='stable')
    columns = [column for column in order if column != example.label][:_MOST_COLUMNS]
    columns = sorted([*columns, example.label], key=lambda column: (-before[column], column))
    rows = [
        (
            names[column],
            column == example.label,
            [
                (float(example.logits[s][column]), 100 * float(example.probabilities[s][column]))
                for s in states
            ],
        )
        for column in columns
    ]
    kind = ' (ground-truth box)' if example.is_truth else ''
    title = f'{names[example.label]}{kind}: {100 * example.moved:.1f} % moves'
    shown = [STATES[state] for state in states]
    if not example.picture:
        return Bars(title, shown, rows)
    x1, y1, x2, y2 = example.box
    box = [round(value, 1) for value in (x1, y1, x2 - x1, y2 - y1)]
    is_whole = box == [0, 0, *example.size]
    return Bars(title, shown, rows, example.picture, example.size, () if is_whole else box)

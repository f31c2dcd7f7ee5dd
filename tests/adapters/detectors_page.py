"""The table of docs/detectors.md, made from the families that the tests run.

python tests/adapters/detectors_page.py   writes it
"""

import logging
from pathlib import Path

from thin_detectors import FAMILIES, student_of, teacher_of

from sortkd_det.adapters import Adapter, build_adapter
from sortkd_det.cli.method_tables import between, with_list

PAGE = Path(__file__).parents[2] / 'docs/detectors.md'
_MARK = '<!-- detectors: made by `python tests/adapters/detectors_page.py` -->'
_HEADER = '| detector | config below `mmdet::` | adapter | each class is | what is paired |'
# Adapters: what is paired.
_PAIRED = {
    'RoIHeadAdapter': 'sampled RoIs of each stage',
    'DenseHeadAdapter': 'priors of objects',
    'ObjectAdapter': "queries of objects with the teacher's best",
    'MaskQueryAdapter': "queries of objects with the teacher's best, by their masks",
}
_CLASS_IS = {'softmax': 'a column of one softmax', 'sigmoid': 'a sigmoid'}


def row_of(name: str) -> str:
    """The row of a family, from the adapter that a run of two of it gets."""
    adapter: Adapter = build_adapter(None, student_of(name), teacher_of(name))
    paired = _PAIRED[type(adapter).__name__]
    if getattr(adapter, 'negatives', None) == 'all':
        paired = 'all priors'
    cells = (
        name,
        f'`{FAMILIES[name].config}`',
        f'`{type(adapter).__name__}`',
        _CLASS_IS[adapter.activation],
        paired,
    )
    return f'| {" | ".join(cells)} |'


def families() -> list[str]:
    """The families, one for each row; a detector that is tested twice has one."""
    return [name for name in FAMILIES if not name.endswith(', later')]


def rows_in_page() -> list[str]:
    """The rows that the page has."""
    _, table, _ = between(PAGE, _MARK)
    return table.splitlines()[2:]


def write() -> None:
    """Bring the page's table up to date."""
    table = '\n'.join([_HEADER, '|---' * 5 + '|', *map(row_of, families())])
    PAGE.write_text(with_list(PAGE, _MARK, table), encoding='utf-8')


if __name__ == '__main__':
    logging.disable(logging.WARNING)  # MMEngine tells of each weight
    write()

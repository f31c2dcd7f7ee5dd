"""Methods, and what they are made of, as tables: from their files and from docstrings."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from sortkd_det.distill import Method
from sortkd_det.functional import ACTIVATIONS

from .methods import METHODS, known_methods, read_method
from .registered import registered

_MARK = '<!-- methods: made by `python tools/list_methods.py --write` -->'
_END = '<!-- end -->'


@dataclass(frozen=True)
class MethodRow:
    """A method, in a line.

    Attributes:
        name: what ``--method`` takes.
        about: what it is, and where it comes from.
        losses: registered names of its terms' losses.
        processors: those of the target's processors, in their order.
        heads: what heads it fits: ``'softmax'``, ``'sigmoid'``, by what they make of their
            logits; ``'GFL'`` and ``'two-stage'``, of whose boxes a term is; ``'any'``,
            where none is read.
    """

    name: str
    about: str
    losses: tuple[str, ...]
    processors: tuple[str, ...]
    heads: tuple[str, ...]


def method_rows() -> list[MethodRow]:
    """All methods of ``configs/_base_/methods/``, by name."""
    return [_row(name) for name in known_methods()]


def documents(root: Path) -> dict[Path, str]:
    """The documents in a checkout, with their lists as they should be.

    Raises:
        ValueError: a document has no place for its list.
    """
    rows = method_rows()
    names = ', '.join(f'`{row.name}`' for row in rows)
    sentence = textwrap.fill(f'`--method` takes {names}.', 110)
    tables = f'{_markdown(rows)}\n\n{_parts()}'
    lists = {'README.md': sentence, 'docs/methods.md': tables}
    return {root / name: with_list(root / name, _MARK, content) for name, content in lists.items()}


def _row(name: str) -> MethodRow:
    method = Method(read_method(name).terms)
    losses = dict.fromkeys(
        type(term if term.loss is None else term.loss).__name__ for term in method.terms
    )
    processors = dict.fromkeys(
        type(processor).__name__
        for term in method.terms
        for processor in getattr(term, 'processors', ())  # those of logits have them
    )
    return MethodRow(
        name,
        _about((METHODS / f'{name}.py').read_text(encoding='utf-8')),
        tuple(losses),
        tuple(processors),
        _heads(method),
    )


def _about(source: str) -> str:
    """The first clause of the comment that a file begins with."""
    lines = []
    for line in source.splitlines():
        if not line.startswith('#'):
            break
        lines.append(line.lstrip('# '))
    return re.split(r'[;:,]\s|\.\s|\.$', ' '.join(lines), maxsplit=1)[0]


def _heads(method: Method) -> tuple[str, ...]:
    if 'boxes' in method.needs:
        return ('GFL',)
    if 'offsets' in method.needs:
        return ('two-stage',)
    if not method.reads_logits:
        return ('any',)
    return tuple(each for each in ACTIVATIONS if _fits(method, each))


def _fits(method: Method, activation: str) -> bool:
    try:
        method.check(activation)
    except ValueError:
        return False
    return True


def _markdown(rows: list[MethodRow]) -> str:
    lines = ['| `--method` | what it is | losses | processors | heads |', '|---|---|---|---|---|']
    for row in rows:
        cells = (f'`{row.name}`', row.about, *map(_code, (row.losses, row.processors)))
        lines.append(f'| {" | ".join((*cells, ", ".join(row.heads)))} |')
    return '\n'.join(lines)


def _parts() -> str:
    """What a term can name, as a table."""
    kinds = registered()
    lines = ['| in a term | what it does |', '|---|---|']
    for kind in ('Losses and temperatures', 'Processors'):
        for name, about in kinds[kind].items():
            lines.append(f'| `{name}` | {about.replace("|", "&#124;")} |')
    return '\n'.join(lines)


def _code(names: tuple[str, ...]) -> str:
    return ', '.join(f'`{name}`' for name in names)


def between(path: Path, mark: str) -> tuple[str, str, str]:
    """What stands in a document before, between and after the lines that a list is kept between.

    Raises:
        ValueError: the document has no such lines.
    """
    before, found, rest = path.read_text(encoding='utf-8').partition(f'{mark}\n')
    content, end, after = rest.partition(f'{_END}\n')
    if not (found and end):
        raise ValueError(f'{path} has no lines {mark} and {_END} to put a list between')
    return before, content, after


def with_list(path: Path, mark: str, content: str) -> str:
    """The text of a document with another list; errors as :func:`between`."""
    before, _, after = between(path, mark)
    return f'{before}{mark}\n{content}\n{_END}\n{after}'

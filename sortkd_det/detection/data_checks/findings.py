"""What checks of data find: one list, one table, one error."""

import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from terminaltables import AsciiTable

_WIDTHS = (7, 24, 40, 30, 40)  # of the table's columns, in characters; words are not broken
_LONG = 36  # characters of a path that a table shows
_HEADER = ('', 'file', 'what', 'the first', 'what to do')


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, about a file.

    Attributes:
        file: path of the file, or the name of a setting.
        what: the rest of a sentence that begins with the file, or with so many of its things.
        cure: what to do about it.
        count: how many things it is about; None: the file as a whole.
        total: how many of these things there are.
        things: their name, in the plural: ``'images'``.
        first: the first of them.
        error: the exception that ends a run with such a file; None: a warning.
    """

    file: str
    what: str
    cure: str
    count: int | None = None
    total: int | None = None
    things: str = ''
    first: str = ''
    error: type[Exception] | None = None

    @property
    def sentence(self) -> str:
        """What was found, with numbers and without the file."""
        if self.count is None:
            return self.what
        return f'{self.count:,} of the {self.total:,} {self.things} {self.what}'

    @property
    def message(self) -> str:
        """The file and the finding, in one line."""
        subject = self.file if self.count is None else f'{self.file}:'
        first = f'; the first is {self.first}' if self.first else ''
        return f'{subject} {self.sentence}{first}; {self.cure}'


@dataclass(frozen=True)
class Count:
    """What a data set makes of a file.

    Attributes:
        loader: name of the data loader.
        file: path of the annotation file.
        images, boxes: numbers in the file.
        used_images, used_boxes: numbers that the data set hands out; in training without crowds.
        empty_images: those among the images handed out that have no such box.
    """

    loader: str
    file: str
    images: int
    boxes: int
    used_images: int
    used_boxes: int
    empty_images: int


@dataclass
class Report:
    """All that checks of a config's data have found, each thing once."""

    findings: list[Finding] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)

    def add(self, file: str, what: str, cure: str, **details: object) -> None:
        """Note a finding; arguments of :class:`Finding`."""
        finding = Finding(shorten(file), what, cure, **details)
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def errors(self) -> list[Finding]:
        """The findings that end a run."""
        return [finding for finding in self.findings if finding.error]

    @property
    def table(self) -> str:
        """The findings, errors first; empty where there are none."""
        if not self.findings:
            return ''
        ordered = sorted(self.findings, key=lambda finding: finding.error is None)
        rows = [
            ('error' if f.error else 'warning', _tail(f.file), f.sentence, f.first, f.cure)
            for f in ordered
        ]
        return _table('Findings', [_HEADER, *rows])

    @property
    def count_table(self) -> str:
        """What each data set makes of its file."""
        header = ('data set', 'file', 'images used', 'boxes used', 'images without a box')
        rows = [
            (
                count.loader,
                _tail(count.file),
                f'{count.used_images:,} of {count.images:,}',
                f'{count.used_boxes:,} of {count.boxes:,}',
                f'{count.empty_images:,}',
            )
            for count in self.counts
        ]
        return _table('Data', [header, *rows], (24, 40, 24, 24, 20)) if rows else ''

    def raise_errors(self) -> None:
        """Raise the first error.

        Raises:
            FileNotFoundError, ValueError: the first error; its message counts the others.
        """
        errors = self.errors
        if errors:
            others = f' ({len(errors) - 1} more in the table above)' if errors[1:] else ''
            raise errors[0].error(errors[0].message + others)


def shorten(path: str) -> str:
    """A path as it is most quickly read: from the working folder where that is shorter."""
    if not os.path.isabs(path):
        return path
    return min(path, os.path.relpath(path), key=len)


def _tail(path: str) -> str:
    """The end of a long path."""
    return path if len(path) <= _LONG else f'…{path[-_LONG:]}'


def _table(title: str, rows: list[tuple], widths: tuple[int, ...] = _WIDTHS) -> str:
    def wrapped(row: tuple) -> Iterator[str]:
        for cell, width in zip(row, widths, strict=True):
            yield textwrap.fill(cell, width, break_long_words=False, break_on_hyphens=False)

    table = AsciiTable([tuple(wrapped(row)) for row in rows], title)
    table.inner_row_border = True
    return table.table

"""What stands on a page, as plain data, and the file that it becomes.

A page is whole in itself: style, script and pictures are in it, and its policy of content allows
nothing else, so that a browser asks no network for anything. What users name (classes, files,
methods) is text wherever it stands: the template escapes it.
"""

import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.table import Table as RichTable

from sortkd_det.files import written_whole
from sortkd_det.version import __version__

_QUALITY = 80  # of a JPEG, of 100
#: Of the pictures of a page with what is drawn on them, so that a page stays below 30 MB.
MOST_BYTES = 28_000_000


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: that is read.
        value: by which its column is sorted; None: there is nothing, it comes last.
        ends: of the interval that is drawn, from low to high.
        mean: which is marked in it.
        note: a word below.
        tone: of the note and the mark: ``'up'``, ``'down'`` or ``''``.
    """

    text: str
    value: float | str | None = None
    ends: tuple[float, float] | None = None
    mean: float = 0.0
    note: str = ''
    tone: str = ''


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        title: of it.
        columns: their headings.
        rows: a cell for each column.
        is_sortable: by any column; else the order of the rows says something.
    """

    kind: ClassVar[str] = 'table'
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = True

    @classmethod
    def of(cls, table: RichTable, is_sortable: bool = True) -> 'Table':
        """The same that a terminal shows."""
        rows = zip(*(column.cells for column in table.columns), strict=True)
        return cls(
            str(table.title),
            [str(column.header).replace('\n', ' ') for column in table.columns],
            [[as_cell(str(text)) for text in row] for row in rows],
            is_sortable,
        )

    @cached_property
    def scales(self) -> list[tuple[float, float]]:
        """For each column what its drawings of intervals reach from and to, 0 within."""
        found = []
        for column in range(len(self.columns)):
            cells = [row[column] for row in self.rows]
            ends = [end for cell in cells if cell.ends for end in (*cell.ends, cell.mean)]
            low, high = min([0.0, *ends]), max([0.0, *ends])
            room = 0.06 * (high - low) or 1.0
            found.append((low - room, high + room))
        return found


@dataclass(frozen=True)
class Curve:
    """A line with a band.

    Attributes:
        name: of what it shows.
        x: steps.
        y: their values.
        low: lower edges of the band.
        high: upper edges.
        note: what the points are, such as ``'mean of 3 seeds'``.
        look: number of its colour and dashes.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    note: str = ''
    look: int = 0


@dataclass(frozen=True)
class Chart:
    """Curves over steps, drawn in :attr:`width` × :attr:`height` units."""

    kind: ClassVar[str] = 'chart'
    width: ClassVar[int] = 400
    height: ClassVar[int] = 250
    left: ClassVar[int] = 46  # of the frame
    right: ClassVar[int] = 388
    top: ClassVar[int] = 10
    bottom: ClassVar[int] = 208
    title: str
    x_title: str
    curves: Sequence[Curve]

    @cached_property
    def steps(self) -> tuple[float, float]:
        """The first and the last that are drawn."""
        steps = [x for curve in self.curves for x in curve.x]
        first, last = min(steps), max(steps)
        return (first, last) if first < last else (0.0, last or 1.0)

    @cached_property
    def x_ticks(self) -> list[float]:
        """Round steps between them."""
        first, last = self.steps
        ticks = MaxNLocator(nbins=6, integer=True).tick_values(first, last)
        return [tick for tick in ticks if first <= tick <= last]

    @cached_property
    def y_ticks(self) -> list[float]:
        """Round values around all bands."""
        values = [y for curve in self.curves for y in (*curve.low, *curve.high)]
        low, high = min(values), max(values)
        room = 0.0 if low < high else abs(low) / 20 or 1.0
        return MaxNLocator(nbins=5).tick_values(low - room, high + room).tolist()

    def x_of(self, step: float) -> float:
        """Where a step is drawn."""
        first, last = self.steps
        return round(self.left + (step - first) / (last - first) * (self.right - self.left), 1)

    def y_of(self, value: float) -> float:
        """Where a value is drawn."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)

    def line(self, steps: Sequence[float], values: Sequence[float]) -> str:
        """The points of a line, as SVG has them."""
        points = zip(steps, values, strict=True)
        return ' '.join(f'{self.x_of(x)},{self.y_of(y)}' for x, y in points)

    def band(self, curve: Curve) -> str:
        """The points around a curve's band."""
        back = self.line(curve.x[::-1], curve.high[::-1])
        return f'{self.line(curve.x, curve.low)} {back}'


@dataclass(frozen=True)
class Matrix:
    """Labels (rows) and what they are taken for (columns), in % of the label."""

    kind: ClassVar[str] = 'matrix'
    title: str
    names: Sequence[str]
    percents: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Bars:
    """A row of logits, before and after, beside its picture.

    Attributes:
        title: what it is.
        states: what the probabilities are those of.
        rows: name of a column of the logits, whether it is the label, and for each state the
            logit and its probability in %.
        picture: as a URI; empty: none.
        size: its width and height.
        box: x, y, width and height in it; empty: none is drawn.
    """

    kind: ClassVar[str] = 'bars'
    title: str
    states: Sequence[str]
    rows: Sequence[tuple[str, bool, Sequence[tuple[float, float]]]]
    picture: str = ''
    size: tuple[int, int] = (0, 0)
    box: Sequence[float] = ()


@dataclass(frozen=True)
class Picture:
    """An image with boxes, each ``[x, y, width, height, class, score]`` in its pixels.

    Of a crowd the score is 0, and 1 of other boxes of the truth.
    """

    name: str
    size: tuple[float, float]
    uri: str
    boxes: Sequence[Sequence[Sequence[float]]]  # of each source


@dataclass(frozen=True)
class Gallery:
    """Images of which one sees what each source says, from a score that one chooses.

    Attributes:
        sources: the truth, then detectors.
        classes: names.
        pictures: with boxes of each source.
        least_score: of the detections that are in the page.
    """

    kind: ClassVar[str] = 'gallery'
    sources: Sequence[str]
    classes: Sequence[str]
    pictures: Sequence[Picture]
    least_score: float

    @property
    def boxes(self) -> dict[str, Any]:
        """What the script draws."""
        boxes = [picture.boxes for picture in self.pictures]
        return dict(classes=list(self.classes), pictures=boxes)


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own.

    Attributes:
        title: the heading.
        text: sentences below it.
        parts: what is shown.
        is_grid: whether they stand side by side, where there is room.
    """

    title: str
    text: str
    parts: Sequence[Any] = ()
    is_grid: bool = False

    @property
    def id(self) -> str:
        """Of its place in the page."""
        return self.title.lower().replace(' ', '-')


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: the heading.
        sentences: what came out.
        facts: what it is of: name → value.
        sections: the parts.
    """

    title: str
    sentences: Sequence[str]
    sections: Sequence[Section]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_page(page: Page, path: Path) -> Path:
    """Write a page to one file, whole or not at all.

    Args:
        page: what stands on it.
        path: of the file, ``.html``; its folder is made.

    Returns:
        ``path``.
    """
    environment = Environment(
        loader=PackageLoader('sortkd_det.studies.html'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template('page.css').render()
    script = environment.get_template('page.js').render()
    text = environment.get_template('page.html').render(
        page=page,
        style=style,
        script=script,
        hashes=dict(style=_hash(style), script=_hash(script)),
        version=__version__,
        number=itertools.count(1).__next__,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(text, encoding='utf-8')
    return path


def jpeg_uri(picture: NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) BGR as what an ``<img>`` shows without a file."""
    _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def shown_path(path: str | Path) -> str:
    """A path without what is nobody's business: of a full path what is below this folder."""
    path = Path(path)
    if not path.is_absolute():
        return str(path)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def _hash(text: str) -> str:
    """By which a policy of content knows a text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def as_cell(text: str) -> Cell:
    """A cell that is sorted by its number, if it is one."""
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text, None if text == '–' else text.strip())

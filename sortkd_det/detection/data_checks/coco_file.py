"""A COCO annotation file in columns, if its entries are complete and their ids differ."""

import contextlib
import json
import reprlib
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from mmap import ACCESS_READ, mmap
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from .findings import Report

_MAX_LENGTH = 2**31  # in pixels, of what can be meant
_MAX_TABLE = 2**24  # ids up to here are looked up in a table
_NAN = float('nan')
_NOTHING = {type(None), type(UNSET)}


class _Entry(msgspec.Struct):
    """What is read of an entry, of whatever type; the rest, masks above all, is passed over."""


class _Image(_Entry, gc=False):
    id: Any = UNSET
    file_name: Any = UNSET
    width: Any = UNSET
    height: Any = UNSET


class _Annotation(_Entry, gc=False):
    id: Any = UNSET
    image_id: Any = UNSET
    category_id: Any = UNSET
    bbox: Any = UNSET
    area: Any = UNSET
    iscrowd: Any = UNSET
    ignore: Any = UNSET


class _SoundAnnotation(_Annotation, gc=False):
    """Read twice as fast: its box becomes a tuple of four floats, or the file is read again."""

    bbox: tuple[float, float, float, float] = UNSET


class _Category(_Entry, gc=False):
    id: Any = UNSET
    name: Any = UNSET


_KINDS = {'images': _Image, 'annotations': _Annotation, 'categories': _Category}
_LISTS = {key: list[kind | bool | int | float | str | list | None] for key, kind in _KINDS.items()}
_SOUND = _LISTS | {'annotations': list[_SoundAnnotation]}
_FILE = msgspec.defstruct('_File', [(key, kind, UNSET) for key, kind in _SOUND.items()])


@dataclass
class CocoFile:
    """What a COCO file holds of N images, M annotations (boxes) and C categories.

    Attributes:
        path: of the file.
        image_ids, image_names: N.
        sizes: (N, 2) float64, width and height in pixels, > 0.
        category_ids, category_names: C.
        box_ids: M.
        boxes: (M, 4) float64, x, y, width and height in pixels, finite.
        areas: (M,) float64, finite.
        image: (M,) int64, the place of each box's image; -1: there is no such image.
        category: (M,) int64, the place of each box's category.
        crowd, ignored: (M,) bool.
    """

    path: str
    image_ids: list
    image_names: list[str]
    sizes: np.ndarray
    category_ids: list
    category_names: list[str]
    box_ids: list
    boxes: np.ndarray
    areas: np.ndarray
    image: np.ndarray
    category: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray

    @cached_property
    def place_of_image(self) -> dict[Hashable, int]:
        """The place of each image, by its id."""
        return {key: place for place, key in enumerate(self.image_ids)}

    @cached_property
    def sizes_of_boxes(self) -> np.ndarray:
        """Width and height of each box's image, NaN where there is none; (M, 2) float64."""
        return np.append(self.sizes, [[_NAN, _NAN]], axis=0)[self.image]

    def first_box(self, chosen: np.ndarray) -> str:
        """What a finding says of the first chosen box; ``chosen``: (M,) bool."""
        index = int(chosen.argmax())
        return f'id {self.box_ids[index]!r}, bbox {self.boxes[index].tolist()}'

    def first_image(self, chosen: np.ndarray) -> str:
        """What a finding says of the first chosen image; ``chosen``: (N,) bool."""
        index = int(chosen.argmax())
        width, height = self.sizes[index]
        return f'{self.image_names[index]}, {width:.0f} × {height:.0f}'


def read_coco(path: str, labelled: bool, report: Report, named_by: str = '') -> CocoFile | None:
    """Read a COCO file.

    Args:
        path: of a file that exists.
        labelled: it must have annotations; COCO's own test files have none.
        report: takes the errors of a file that cannot be used.
        named_by: the setting that names it, where that is not the data set's own.

    Returns:
        The file, or None where there are errors.
    """
    name = f'{path} ({named_by})' if named_by else path
    try:
        lists = _decode(path)
    except (ValueError, RecursionError) as error:
        report.add(name, f'is not JSON ({error})', 'expected COCO annotations', error=ValueError)
        return None
    if not labelled:
        lists.setdefault('annotations', [])
    absent = [key for key in _KINDS if key not in lists]
    if absent:
        report.add(
            name,
            f'is not a COCO annotation file: it has no list under {", ".join(absent)}',
            'expected images, annotations and categories, as in instances_train2017.json of COCO',
            error=ValueError,
        )
        return None
    return _Reader(path, name, lists, report).read()


def _decode(path: str) -> dict[str, list]:
    """The lists of a COCO file; those that are no lists are left out."""
    try:
        with open(path, 'rb') as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            data = msgspec.structs.asdict(msgspec.json.decode(text, type=_FILE))
        return {key: entries for key, entries in data.items() if entries is not UNSET}
    except (ValueError, RecursionError):  # Python reads, and writes, NaN and infinity as well
        with open(path, encoding='utf-8') as file:
            data = json.load(file)
    return {
        key: msgspec.convert(data[key], _LISTS[key])
        for key in _LISTS
        if isinstance(data, dict) and isinstance(data.get(key), list)
    }


class _Reader:
    """Checks the entries of a file, and turns them into columns."""

    def __init__(self, path: str, name: str, lists: dict[str, list], report: Report) -> None:
        self.path = path
        self.name = name
        self.lists = lists
        self.report = report
        self.columns = {key: _columns(lists[key], kind) for key, kind in _KINDS.items()}

    def read(self) -> CocoFile | None:
        before = len(self.report.errors)
        images, annotations, categories = self.columns.values()
        sizes = np.stack([_numbers(images['width']), _numbers(images['height'])], axis=1)
        boxes = _boxes(annotations['bbox'])
        areas = _numbers(annotations['area'], _MAX_LENGTH**2)
        self._refuse(
            'images',
            _not_of(images['id'], int, str)
            | _not_of(images['file_name'], str)
            | ~(sizes > 0).all(axis=1),
            'have no id, whole number or text, file_name, and width and height, numbers above 0',
        )
        self._refuse(
            'categories',
            _not_of(categories['id'], int, str) | _not_of(categories['name'], str),
            'have no id, whole number or text, and name',
        )
        wrong = np.isnan(boxes).any(axis=1) | np.isnan(areas)
        for key in ('id', 'image_id', 'category_id'):
            wrong |= _not_of(annotations[key], int, str)
        self._refuse(
            'annotations',
            wrong,
            'have no id, image_id and category_id, whole numbers or text, and area and bbox of '
            'finite numbers, one and four',
        )
        for key in ('iscrowd', 'ignore'):
            self._refuse(
                'annotations',
                _not_of(annotations[key], int, float, bool, *_NOTHING),
                f'have an {key} that is no number',
                'expected 0 or 1',
            )
        if len(self.report.errors) > before:
            return None
        self._refuse_twice('images', 'id')
        self._refuse_twice('annotations', 'id')
        self._refuse_twice('categories', 'id')
        category = _places(annotations['category_id'], categories['id'])
        self._refuse_names(category)
        self._refuse('annotations', category < 0, 'are of a category it does not have')
        if len(self.report.errors) > before:
            return None
        return CocoFile(
            self.path,
            images['id'],
            images['file_name'],
            sizes,
            categories['id'],
            categories['name'],
            annotations['id'],
            boxes,
            areas,
            _places(annotations['image_id'], images['id']),
            category,
            _flags(annotations['iscrowd']),
            _flags(annotations['ignore']),
        )

    def _refuse(
        self, key: str, wrong: np.ndarray, what: str, cure: str = 'mend the file, or export it anew'
    ) -> None:
        if wrong.any():
            first = self.lists[key][int(wrong.argmax())]
            self.report.add(
                self.name,
                what,
                cure,
                count=int(wrong.sum()),
                total=len(wrong),
                things=key,
                first=_shown(first),
                error=ValueError,
            )

    def _refuse_twice(self, key: str, name: str) -> None:
        values = self.columns[key][name]
        if len(set(values)) < len(values):
            times = Counter(values)
            wrong = np.array([times[value] > 1 for value in values])
            self._refuse(key, wrong, f'share their {name} with another')

    def _refuse_names(self, category: np.ndarray) -> None:
        """Categories of one name; one that has no boxes can go."""
        ids, names = self.columns['categories'].values()
        times = Counter(names)
        if len(times) == len(names):
            return
        numbers = np.bincount(category[category >= 0], minlength=len(names))
        shared = [place for place, name in enumerate(names) if times[name] > 1]
        unused = [place for place in shared if not numbers[place]]
        cure = 'give each a name of its own'
        if unused and len(unused) < len(shared):
            cure = (
                f'no annotation is of the category with the id {ids[unused[0]]!r} (Roboflow writes '
                'such an entry, a root of all classes): take it out of "categories"'
            )
        wrong = np.isin(np.arange(len(names)), shared)
        self._refuse('categories', wrong, 'share their name with another', cure)


class _Column(list):
    """The values of one field, one for each entry."""

    @cached_property
    def types(self) -> set[type]:
        """The types of the values: a look at millions of them, taken once."""
        return set(map(type, self))


def _columns(entries: list, kind: type[_Entry]) -> dict[str, _Column]:
    """One column for each field of the entries; what is no such entry has none of them."""
    if not all(issubclass(each, kind) for each in set(map(type, entries))):
        entries = [entry if isinstance(entry, kind) else kind() for entry in entries]
    return {name: _Column(map(attrgetter(name), entries)) for name in kind.__struct_fields__}


def _shown(entry: Any) -> str:
    if not isinstance(entry, _Entry):
        return reprlib.repr(entry)
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return reprlib.repr({name: value for name, value in fields.items() if value is not UNSET})


def _not_of(column: _Column, *types: type) -> np.ndarray:
    """Which values are of none of these very types; (len,) bool."""
    if column.types <= set(types):
        return np.zeros(len(column), dtype=bool)
    return np.array([type(value) not in types for value in column], dtype=bool)


def _numbers(column: _Column, limit: float = _MAX_LENGTH) -> np.ndarray:
    """Numbers as float64; NaN for what is none, or none below ``limit``."""
    values = column
    if not column.types <= {int, float}:
        values = [value if type(value) in (int, float) else _NAN for value in column]
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        values = [value if abs(value) < limit else _NAN for value in values]
        numbers = np.array(values, dtype=np.float64)
    return _within(numbers, limit)


def _within(numbers: np.ndarray, limit: float) -> np.ndarray:
    numbers[~(np.abs(numbers) < limit)] = _NAN
    return numbers


def _boxes(column: _Column) -> np.ndarray:
    """(M, 4) float64; NaN in rows that are no lists of four lengths."""
    if column.types == {tuple}:
        numbers = np.fromiter(chain.from_iterable(column), np.float64, 4 * len(column))
        return _within(numbers, _MAX_LENGTH).reshape(-1, 4)
    nothing = [_NAN] * 4
    rows = [row if isinstance(row, list | tuple) and len(row) == 4 else nothing for row in column]
    return _numbers(_Column(chain.from_iterable(rows))).reshape(-1, 4)


def _flags(column: _Column) -> np.ndarray:
    """Whether each is set, as MMDetection reads it: not 0, not absent; (M,) bool."""
    if column.types <= _NOTHING:
        return np.zeros(len(column), dtype=bool)
    if column.types & _NOTHING:
        return np.array([value is not UNSET and bool(value) for value in column], dtype=bool)
    return np.array(column) != 0


def _places(keys: _Column, ids: _Column) -> np.ndarray:
    """The place of each key among the ids, -1 for unknown ones; (len(keys),) int64."""
    top = max(ids, default=0) if keys.types | ids.types <= {int} else _MAX_TABLE
    if top < _MAX_TABLE and min(ids, default=0) >= 0:
        table = np.full(top + 2, -1)
        table[ids] = np.arange(len(ids))
        with contextlib.suppress(OverflowError):  # a key that no array can hold
            numbers = np.array(keys, dtype=np.int64)
            return table[np.where((numbers >= 0) & (numbers <= top), numbers, top + 1)]
    place_of = {key: place for place, key in enumerate(ids)}
    return np.fromiter(map(place_of.get, keys, repeat(-1)), np.int64, len(keys))

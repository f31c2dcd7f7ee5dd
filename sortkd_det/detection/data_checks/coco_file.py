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
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from .findings import Report

_MAX_LENGTH = 2**31  # in pixels, of what can be meant
_MAX_AREA = _MAX_LENGTH**2
_MAX_TABLE = 2**24  # ids up to here are looked up in a table


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


class _Category(_Entry, gc=False):
    id: Any = UNSET
    name: Any = UNSET


def _between(low: int, high: int) -> Any:
    """A number, as it is written, that lies between two others."""
    return Annotated[int, Meta(gt=low, lt=high)] | Annotated[float, Meta(gt=low, lt=high)]


_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Length = Annotated[float, Meta(gt=-_MAX_LENGTH, lt=_MAX_LENGTH)]


# Most files hold nothing else than these, which need no further look at their values.
class _SoundImage(_Entry, gc=False):
    id: _Id
    file_name: str
    width: _between(0, _MAX_LENGTH)
    height: _between(0, _MAX_LENGTH)


class _SoundAnnotation(_Entry, gc=False):
    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Length, _Length, _Length, _Length]
    area: _between(-_MAX_AREA, _MAX_AREA)
    iscrowd: int = 0
    ignore: int = 0


class _SoundCategory(_Entry, gc=False):
    id: _Id
    name: str


class _SoundFile(msgspec.Struct):
    images: list[_SoundImage] | UnsetType = UNSET
    annotations: list[_SoundAnnotation] | UnsetType = UNSET
    categories: list[_SoundCategory] | UnsetType = UNSET


_KINDS = {'images': _Image, 'annotations': _Annotation, 'categories': _Category}
_LISTS = {key: list[kind | bool | int | float | str | list | None] for key, kind in _KINDS.items()}
_File = msgspec.defstruct('_File', [(key, kind, UNSET) for key, kind in _LISTS.items()])


@dataclass
class CocoFile:
    """What a COCO file holds of N images, M annotations (boxes) and C categories.

    Attributes:
        path: of the file.
        image_ids, image_names: N.
        sizes: (N, 2) float64, width and height in pixels, > 0.
        category_ids, category_names: C.
        box_ids: (M,) int64; objects where an id of the file is text, or too large.
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
    box_ids: np.ndarray
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
        return np.append(self.sizes, [[np.nan, np.nan]], axis=0)[self.image]

    @cached_property
    def degenerate(self) -> tuple[np.ndarray, np.ndarray]:
        """Which boxes are too small, and which outside of their image; (M,) bool each."""
        x, y, width, height = self.boxes.T
        image_width, image_height = self.sizes_of_boxes.T
        small = (width < 1) | (height < 1) | (self.areas <= 0)
        within_x = np.minimum(x + width, image_width) - np.maximum(x, 0)
        within_y = np.minimum(y + height, image_height) - np.maximum(y, 0)
        outside = (within_x <= 0) | (within_y <= 0)
        return small, outside

    def first_box(self, chosen: np.ndarray) -> str:
        """What a finding says of the first chosen box; ``chosen``: (M,) bool."""
        index = int(chosen.argmax())
        return f'id {self.box_ids.item(index)!r}, bbox {self.boxes[index].tolist()}'

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
        lists, are_sound = _decode(path)
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
    return _Reader(path, name, lists, are_sound, report).read()


def _decode(path: str) -> tuple[dict[str, list], bool]:
    """The lists of a COCO file, those that are no lists left out, and whether all are sound."""
    for kind in (_SoundFile, _File):
        with (
            contextlib.suppress(ValueError, RecursionError),
            open(path, 'rb') as file,
            mmap(file.fileno(), 0, access=ACCESS_READ) as text,
        ):
            found = msgspec.structs.asdict(msgspec.json.decode(text, type=kind))
            lists = {key: entries for key, entries in found.items() if entries is not UNSET}
            return lists, kind is _SoundFile
    with open(path, encoding='utf-8') as file:  # Python reads, and writes, NaN and infinity as well
        data = json.load(file)
    return {
        key: msgspec.convert(data[key], _LISTS[key])
        for key in _LISTS
        if isinstance(data, dict) and isinstance(data.get(key), list)
    }, False


class _Reader:
    """Checks the entries of a file, and turns them into columns."""

    def __init__(
        self, path: str, name: str, lists: dict[str, list], are_sound: bool, report: Report
    ) -> None:
        self.path = path
        self.name = name
        self.lists = lists
        self.are_sound = are_sound
        self.report = report

    def read(self) -> CocoFile | None:
        before = len(self.report.errors)
        if not self.are_sound:
            self._refuse_unsound()
        if len(self.report.errors) > before:
            return None
        image_ids, box_ids, category_ids = (self._ids(key) for key in _KINDS)
        self._refuse_twice('images', image_ids)
        self._refuse_twice('annotations', box_ids)
        self._refuse_twice('categories', category_ids)
        category_names = [entry.name for entry in self.lists['categories']]
        category = _places(self._ids('annotations', 'category_id'), category_ids)
        self._refuse_names(category, category_ids, category_names)
        self._refuse('annotations', category < 0, 'are of a category it does not have')
        if len(self.report.errors) > before:
            return None
        lengths = [self._column('images', side, np.float64) for side in ('width', 'height')]
        boxes = chain.from_iterable(map(attrgetter('bbox'), self.lists['annotations']))
        return CocoFile(
            self.path,
            image_ids.tolist(),
            [entry.file_name for entry in self.lists['images']],
            np.stack(lengths, axis=1),
            category_ids.tolist(),
            category_names,
            box_ids,
            np.fromiter(boxes, np.float64, 4 * len(box_ids)).reshape(-1, 4),
            self._column('annotations', 'area', np.float64),
            _places(self._ids('annotations', 'image_id'), image_ids),
            category,
            self._column('annotations', 'iscrowd', np.bool_),
            self._column('annotations', 'ignore', np.bool_),
        )

    def _column(self, key: str, name: str, dtype: type) -> np.ndarray:
        """One field of all entries; a flag is set, as MMDetection reads it: not 0, not absent."""
        entries = self.lists[key]
        return np.fromiter(map(attrgetter(name), entries), dtype, len(entries))

    def _ids(self, key: str, name: str = 'id') -> np.ndarray:
        return self._column(key, name, np.int64 if self.are_sound else np.object_)

    def _refuse_unsound(self) -> None:
        """Refuse entries that are incomplete, or hold other values than they should."""
        for key, is_sound, what in (
            (
                'images',
                _is_image,
                'have no id, whole number or text, file_name, and width and height, numbers '
                'above 0',
            ),
            ('categories', _is_category, 'have no id, whole number or text, and name'),
            (
                'annotations',
                _is_annotation,
                'have no id, image_id and category_id, whole numbers or text, and area and bbox '
                'of finite numbers, one and four',
            ),
        ):
            kind = _KINDS[key]
            wrong = [not (isinstance(each, kind) and is_sound(each)) for each in self.lists[key]]
            self._refuse(key, np.array(wrong, dtype=bool), what)
        for name in ('iscrowd', 'ignore'):
            wrong = [not _is_flag(getattr(each, name, UNSET)) for each in self.lists['annotations']]
            self._refuse(
                'annotations',
                np.array(wrong, dtype=bool),
                f'have an {name} that is no number',
                'expected 0 or 1',
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

    def _refuse_twice(self, key: str, ids: np.ndarray) -> None:
        if not _all_differ(ids):
            values = ids.tolist()
            times = Counter(values)
            wrong = np.array([times[value] > 1 for value in values])
            self._refuse(key, wrong, 'share their id with another')

    def _refuse_names(self, category: np.ndarray, ids: np.ndarray, names: list[str]) -> None:
        """Categories of one name; one that has no boxes can go."""
        times = Counter(names)
        if len(times) == len(names):
            return
        numbers = np.bincount(category[category >= 0], minlength=len(names))
        shared = [place for place, name in enumerate(names) if times[name] > 1]
        unused = [place for place in shared if not numbers[place]]
        cure = 'give each a name of its own'
        if unused and len(unused) < len(shared):
            cure = (
                f'no annotation is of the category with the id {ids.item(unused[0])!r} (Roboflow '
                'writes such an entry, a root of all classes): take it out of "categories"'
            )
        wrong = np.isin(np.arange(len(names)), shared)
        self._refuse('categories', wrong, 'share their name with another', cure)


def _shown(entry: Any) -> str:
    if not isinstance(entry, _Entry):
        return reprlib.repr(entry)
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return reprlib.repr({name: value for name, value in fields.items() if value is not UNSET})


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_number(value: Any, low: int, high: int) -> bool:
    return type(value) in (int, float) and low < value < high


def _is_flag(value: Any) -> bool:
    return value is None or value is UNSET or type(value) in (int, float, bool)


def _is_image(entry: _Image) -> bool:
    return (
        _is_id(entry.id)
        and type(entry.file_name) is str
        and _is_number(entry.width, 0, _MAX_LENGTH)
        and _is_number(entry.height, 0, _MAX_LENGTH)
    )


def _is_category(entry: _Category) -> bool:
    return _is_id(entry.id) and type(entry.name) is str


def _is_annotation(entry: _Annotation) -> bool:
    return (
        all(map(_is_id, (entry.id, entry.image_id, entry.category_id)))
        and _is_number(entry.area, -_MAX_AREA, _MAX_AREA)
        and type(entry.bbox) is list
        and len(entry.bbox) == 4
        and all(_is_number(length, -_MAX_LENGTH, _MAX_LENGTH) for length in entry.bbox)
    )


def _all_differ(ids: np.ndarray) -> bool:
    if ids.dtype == np.object_:  # text and numbers have no order
        return len(set(ids.tolist())) == len(ids)
    ordered = np.sort(ids)
    return bool((ordered[1:] > ordered[:-1]).all())


def _places(keys: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The place of each key among the ids, -1 for unknown ones; (len(keys),) int64."""
    if ids.dtype == np.int64 and len(ids) and ids.min() >= 0 and ids.max() < _MAX_TABLE:
        top = ids.max()
        table = np.full(top + 2, -1)
        table[ids] = np.arange(len(ids))
        return table[np.where((keys >= 0) & (keys <= top), keys, top + 1)]
    place_of = {key: place for place, key in enumerate(ids.tolist())}
    return np.fromiter(map(place_of.get, keys.tolist(), repeat(-1)), np.int64, len(keys))

"""PASCAL VOC's annotations: an XML file for each image, corners in pixels counted from 1."""

import math
import reprlib
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .coco import Box, LabelledImage, check_classes
from .images import image_size, index_files, index_images

_SPLITS = ('train', 'val', 'test')
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
_MAX_BYTES = 2**24  # of an XML file
_MAX_LENGTH = 2**31  # in pixels, of what can be meant


class _Annotation(NamedTuple):
    """What an XML file holds.

    Attributes:
        size: width and height, if it gives them.
        boxes: those of difficult objects last.
        odd: which objects have numbers that VOC would not have.
    """

    size: tuple[float, float] | None
    boxes: list[Box]
    odd: list[str]


def read_voc(
    source: str | Path,
    classes: Sequence[str],
    splits: Sequence[str] | None = None,
    first_pixel: int | None = None,
) -> dict[str, list[LabelledImage]]:
    """Read the images and boxes of a data set in VOC's layout, or in folders of images and XML.

    The corner that VOC calls pixel 1 has the coordinate 0 in COCO: ``first_pixel`` is taken off
    all four numbers of a box, as MMDetection does. A box from 1 to 3 so becomes 0 to 2. Objects
    that are ``difficult`` become crowds, and come last.

    Args:
        source: folder with ``Annotations/*.xml``, ``JPEGImages/*`` and
            ``ImageSets/Main/<split>.txt``, or with ``<split>/*.xml`` beside the images.
        classes: names of the classes; their ids are their places, from 0.
        splits: names of the lists or folders; None: train, val and test, as far as they are there.
        first_pixel: what the data set calls the first pixel of a row, 1 or 0; None: 1, with a
            warning where numbers tell otherwise.

    Returns:
        The images of each split. Sizes are those of the image files.

    Raises:
        FileNotFoundError: a list, an annotation or an image is missing.
        ValueError: an object of a class that is not among ``classes``, a class named twice, a
            list that is empty or names an image twice, or an annotation that is not VOC's; it
            names the file and the element.
    """
    source = Path(source)
    labels = {name: label for label, name in enumerate(check_classes(classes, '--classes'))}
    found: dict[str, list[LabelledImage]] = {}
    annotations: list[_Annotation] = []
    resized: list[str] = []
    for split, pairs in _find_pairs(source, splits).items():
        found[split] = []
        for name, (xml, path) in pairs.items():
            annotation = _read_annotation(xml, labels, 1 if first_pixel is None else first_pixel)
            annotations.append(annotation)
            size = image_size(path)
            if annotation.size not in (None, size):
                resized.append(f'{xml} with {_by(annotation.size)}, its image has {_by(size)}')
            image = LabelledImage(path, f'{name}{path.suffix}', size, annotation.boxes)
            found[split].append(image)
    if first_pixel is None:
        _warn_of_odd_numbers(source, annotations)
    if resized:
        warnings.warn(
            f'{source}: in {len(resized)} of {len(annotations)} annotations the size is not that '
            f'of the image; the first is {resized[0]}. The size of the image is written: make sure '
            'that the boxes are those of the image as it is, not of one that was scaled or turned',
            stacklevel=2,
        )
    return found


def _warn_of_odd_numbers(source: Path, annotations: Sequence[_Annotation]) -> None:
    """Warn if boxes have numbers that VOC, which counts whole pixels from 1, would not have."""
    odd = [place for annotation in annotations for place in annotation.odd]
    if odd:
        total = sum(len(annotation.boxes) for annotation in annotations)
        warnings.warn(
            f'{source}: {len(odd)} of {total} boxes have numbers below 1 or with a fraction, the '
            f'first is {odd[0]}. VOC counts whole pixels from 1, so 1 was taken off all numbers; '
            'if this data set counts from 0, all boxes now lie one pixel too far left and up: '
            'give --first-pixel 0',
            stacklevel=3,
        )


def _by(size: Sequence[float]) -> str:
    return f'{size[0]:g} × {size[1]:g}'


# -- which files ---------------------------------------------------------------------------------


def _find_pairs(
    source: Path, splits: Sequence[str] | None
) -> dict[str, dict[str, tuple[Path, Path]]]:
    """For each split, by name: the XML file and the image."""
    lists = source / 'ImageSets/Main'
    if (source / 'Annotations').is_dir() or not any(source.glob('*/*.xml')):
        there = sorted(path.stem for path in lists.glob('*.txt'))
        chosen = _chosen(splits, there, f'{lists} has no list', 'lists')
        xmls = index_files(source / 'Annotations', ('.xml',))
        images = index_images(source / 'JPEGImages')
        return {
            split: {
                name: (
                    _only(xmls, name, f'{source}/Annotations/{name}.xml', f'{split}.txt'),
                    _only(images, name, f'an image {source}/JPEGImages/{name}.*', f'{split}.txt'),
                )
                for name in _listed(lists / f'{split}.txt')
            }
            for split in chosen
        }
    there = sorted({path.parent.name for path in source.glob('*/*.xml')})
    found = {}
    for split in _chosen(splits, there, f'{source} has no folder of XML files', 'folders'):
        images = index_images(source / split)
        found[split] = {
            f'{split}/{name}': (
                paths[0],
                _only(images, name, f'an image {source}/{split}/{name}.*', f'{name}.xml'),
            )
            for name, paths in index_files(source / split, ('.xml',)).items()
        }
        _warn_of_unlabelled(source / split, split, images, found[split])
    return found


def _warn_of_unlabelled(
    folder: Path, split: str, images: dict[str, list[Path]], pairs: dict[str, Any]
) -> None:
    without = [paths[0] for name, paths in images.items() if f'{split}/{name}' not in pairs]
    if without:
        warnings.warn(
            f'{len(without)} of the {len(images)} images in {folder} have no XML file and are left '
            f'out; the first is {without[0]}. If there is nothing on them, an XML file that holds '
            '<annotation/> makes them background',
            stacklevel=4,
        )


def _chosen(splits: Sequence[str] | None, there: list[str], lack: str, kind: str) -> Sequence[str]:
    chosen = splits or [split for split in (*_SPLITS, 'valid') if split in there]
    absent = [split for split in chosen if split not in there]
    if absent or not chosen:
        raise FileNotFoundError(
            f'{lack} for {", ".join(absent or _SPLITS)}; {kind} for --splits there: '
            f'{", ".join(there) or "none"}; expected Annotations, JPEGImages and '
            'ImageSets/Main/<split>.txt, or a folder <split> of images and XML files'
        )
    return chosen


def _listed(path: Path) -> list[str]:
    """The names in a list of images, one a line."""
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f'{path} lists no images')
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f'{path} lists {name} {times} times')
    return names


def _only(index: dict[str, list[Path]], name: str, wanted: str, where: str) -> Path:
    """The one file of a name; names are looked up, never followed."""
    paths = index.get(name, [])
    if not paths:
        raise FileNotFoundError(f'{wanted}, which {where} asks for, does not exist')
    if len(paths) > 1:
        raise ValueError(
            f'{wanted}, which {where} asks for, is there twice: {paths[0]}, {paths[1]}'
        )
    return paths[0]


# -- one annotation ------------------------------------------------------------------------------


def _read_annotation(xml: Path, labels: dict[str, int], first_pixel: int) -> _Annotation:
    try:
        root = _parse(xml)
        if root.tag != 'annotation':
            raise ValueError(f'its root is <{root.tag:.50}>, expected <annotation>')
        boxes, odd = [], []
        for number, element in enumerate(root.findall('object'), 1):
            name = (element.findtext('name') or '').strip()
            where = f'object {number} ({name[:50] or "without a <name>"})'
            corners = _corners(element, where)
            if name not in labels:
                raise ValueError(f'{where} is of no class of --classes {list(labels)}')
            if min(corners) < 1 or any(corner % 1 for corner in corners):
                odd.append(f'{where} of {xml}')
            x, y, x2, y2 = corners
            bbox = (x - first_pixel, y - first_pixel, x2 - x, y2 - y)
            boxes.append(Box(labels[name], bbox, _is_difficult(element, where)))
        size = _size(root)
    except ValueError as error:
        raise ValueError(f"{xml} is no annotation of VOC's: {error}") from error
    return _Annotation(size, sorted(boxes, key=lambda box: box.is_crowd), odd)


def _parse(xml: Path) -> Element:
    """The root of an XML file without a document type, whose entities can expand without end."""

    def refuse(name: str, *_: Any) -> None:
        raise ValueError(f'it declares the document type {name:.50}')

    if xml.stat().st_size > _MAX_BYTES:
        raise ValueError(f'it has more than {_MAX_BYTES} bytes')
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        with xml.open('rb') as file:
            parser.ParseFile(file)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(f'it is no XML ({error})') from error
    return builder.close()


def _corners(element: Element, where: str) -> tuple[float, ...]:
    box = element.find('bndbox')
    if box is None:
        there = ', '.join(f'<{child.tag:.50}>' for child in element[:8]) or 'nothing'
        raise ValueError(f'{where} has no <bndbox>, but {there}')
    return tuple(_number(box, tag, f'<{tag}> of {where}') for tag in _CORNERS)


def _number(parent: Element, tag: str, what: str) -> float:
    text = parent.findtext(tag)
    if text is None:
        raise ValueError(f'there is no {what}')
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < _MAX_LENGTH:  # false for NaN
        raise ValueError(f'{what} is {reprlib.repr(text)}, expected a number of pixels')
    return number


def _size(root: Element) -> tuple[float, float] | None:
    """Width and height, if the annotation gives them; some tools leave them out, empty or 0."""
    size = root.find('size')
    if size is None or not all((size.findtext(tag) or '').strip() for tag in ('width', 'height')):
        return None
    width, height = (_number(size, tag, f'<{tag}> of <size>') for tag in ('width', 'height'))
    return (width, height) if width > 0 and height > 0 else None


def _is_difficult(element: Element, where: str) -> bool:
    text = (element.findtext('difficult') or '').strip()
    if text not in ('', '0', '1', 'Unspecified'):
        raise ValueError(f'<difficult> of {where} is {reprlib.repr(text)}, expected 0 or 1')
    return text == '1'

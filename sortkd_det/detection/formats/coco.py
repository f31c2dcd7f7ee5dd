"""Labelled images, whatever format they come from, written as COCO's annotation files."""

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Box:
    """One object of an image.

    Attributes:
        label: its class's place among the classes, from 0.
        bbox: x, y, width and height in pixels, from the upper left corner of the image.
        is_crowd: MMDetection trains on it neither as an object nor as background.
    """

    label: int
    bbox: tuple[float, float, float, float]
    is_crowd: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is on it.

    Attributes:
        path: the file.
        name: what the annotations call it, in folders of the new data set.
        size: width and height in pixels.
        boxes: its objects; none for background.
    """

    path: Path
    name: str
    size: tuple[int, int]
    boxes: Sequence[Box]


def write_coco(
    splits: dict[str, Sequence[LabelledImage]], classes: Sequence[str], out: str | Path
) -> list[Path]:
    """Write ``out/annotations/<split>.json`` and copy the images into ``out/images``.

    Ids of images and categories are their places, from 0; those of annotations begin with 1, as
    pycocotools takes a 0 for "no match".

    Args:
        splits: the images of each.
        classes: names, in the order of their ids.
        out: folder to make.

    Returns:
        The annotation files.

    Raises:
        ValueError: two images would get one name.
    """
    out = Path(out)
    places: dict[str, Path] = {}
    for image in (image for images in splits.values() for image in images):
        if places.setdefault(image.name, image.path) != image.path:
            raise ValueError(
                f'{places[image.name]} and {image.path} would both become {image.name}; rename one'
            )
    for name, path in places.items():
        target = out / 'images' / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(path)):  # a data set converted where it is
            shutil.copyfile(path, target)
    (out / 'annotations').mkdir(parents=True, exist_ok=True)
    _warn_of_empty_boxes([image for images in splits.values() for image in images])
    written = []
    for split, images in splits.items():
        path = out / 'annotations' / f'{split}.json'
        path.write_text(json.dumps(_coco(images, classes), allow_nan=False))
        written.append(path)
    return written


def _coco(images: Sequence[LabelledImage], classes: Sequence[str]) -> dict[str, list]:
    boxes = [(image_id, box) for image_id, image in enumerate(images) for box in image.boxes]
    return {
        'images': [
            dict(id=image_id, file_name=image.name, width=image.size[0], height=image.size[1])
            for image_id, image in enumerate(images)
        ],
        'categories': [dict(id=label, name=name) for label, name in enumerate(classes)],
        'annotations': [
            _annotation(number, image_id, box) for number, (image_id, box) in enumerate(boxes, 1)
        ],
    }


def _annotation(number: int, image_id: int, box: Box) -> dict:
    bbox = [int(length) if length == int(length) else length for length in box.bbox]
    return dict(
        id=number,
        image_id=image_id,
        category_id=box.label,
        bbox=bbox,
        area=bbox[2] * bbox[3],
        iscrowd=int(box.is_crowd),
        ignore=0,
    )


def _warn_of_empty_boxes(images: Sequence[LabelledImage]) -> None:
    boxes = [(image, box) for image in images for box in image.boxes]
    empty = [image for image, box in boxes if min(box.bbox[2:]) <= 0]
    if empty:
        warnings.warn(
            f'{len(empty)} of {len(boxes)} boxes have no width or no height, the first is in '
            f'{empty[0].path}; they are written, and MMDetection leaves them out',
            stacklevel=3,
        )


def describe(images: Sequence[LabelledImage], classes: Sequence[str]) -> str:
    """What is in a split, in a line: ``2 images, 1 of them without a box; 1 boxes: 1 dog``."""
    boxes = [box for image in images for box in image.boxes]
    counts = Counter(box.label for box in boxes)
    crowds = sum(box.is_crowd for box in boxes)
    background = sum(not image.boxes for image in images)
    return (
        f'{len(images):,} images, {background:,} of them without a box; {len(boxes):,} boxes: '
        + ', '.join(f'{counts[label]:,} {name}' for label, name in enumerate(classes))
        + (f'; {crowds:,} of them crowds, which are not trained on' if crowds else '')
    )


def check_classes(classes: Iterable[str], source: str) -> list[str]:
    """The names of the classes.

    Raises:
        ValueError: there is no class, or one is named twice.
    """
    classes = list(classes)
    twice = [name for name, times in Counter(classes).items() if times > 1]
    if twice:
        raise ValueError(f'{source} must differ, got {" ".join(classes):.200}')
    if not classes:
        raise ValueError(f'{source} must be one at least, got none')
    return classes

"""Images with their true boxes and what detectors say, for the browser to draw."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .page import MOST_BYTES, Gallery, Picture, jpeg_uri

#: Of the detections that a page holds.
LEAST_SCORE = 0.05
#: Of an image, those with the best scores, as COCO counts.
MOST_DETECTIONS = 100
_SIDE = 640  # pixels of a picture at most
_MARKUP = 1000  # bytes around a picture
_SAMPLE = 16  # pictures that tell how large others will be


def make_gallery(
    annotations: Path,
    detections: Mapping[str, Path],
    folder: Path | None,
    number: int,
    most_bytes: int = MOST_BYTES,
) -> tuple[Gallery, int]:
    """Take some of the images of an annotation file, evenly spread, with all their boxes.

    Args:
        annotations: file in COCO's format.
        detections: name of a detector → its file, likewise.
        folder: of the images; None, and for a file that is not there: no picture, boxes alone.
        number: of images, at most; ≥ 1.
        most_bytes: of their pictures and boxes together; of so many images that they take more,
            fewer are shown.

    Returns:
        The gallery, and how many images there are in all.
    """
    truth = json.loads(annotations.read_text())
    categories = sorted(truth['categories'], key=lambda each: each['id'])  # as pycocotools
    places = {each['id']: place for place, each in enumerate(categories)}
    images = truth['images']
    found = [json.loads(path.read_text()) for path in detections.values()]

    def show(number: int) -> list[Picture]:
        chosen = _spread(images, number)
        sources = [_objects(truth['annotations'], chosen, places)]
        sources += [_detections(entries, chosen, places) for entries in found]
        return [
            _picture(each, folder, [source[each['id']] for source in sources]) for each in chosen
        ]

    pictures = show(min(number, _SAMPLE))
    if number > _SAMPLE and pictures:
        pictures = show(min(number, most_bytes * len(pictures) // _bytes_of(pictures)))
    while len(pictures) > 1 and _bytes_of(pictures) > most_bytes:
        pictures = _spread(pictures, len(pictures) * 9 // 10)
    names = [each['name'] for each in categories]
    return Gallery(['ground truth', *detections], names, pictures, LEAST_SCORE), len(images)


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """So many of them, evenly spread; all, if there are no more."""
    places = np.linspace(0, len(items) - 1, min(max(number, 1), len(items)))
    return [items[place] for place in places.round().astype(int)]


def _bytes_of(pictures: Sequence[Picture]) -> int:
    return sum(_MARKUP + len(each.uri) + len(json.dumps(each.boxes)) for each in pictures)


def _objects(
    entries: Sequence[dict], images: Sequence[dict], places: Mapping[Any, int]
) -> dict[Any, list]:
    """Image's id → boxes; of a crowd with the score 0."""
    found: dict[Any, list] = {image['id']: [] for image in images}
    for entry in entries:
        if entry['image_id'] in found:
            found[entry['image_id']].append(_box(entry, places, int(not entry.get('iscrowd'))))
    return found


def _detections(
    entries: Sequence[dict], images: Sequence[dict], places: Mapping[Any, int]
) -> dict[Any, list]:
    """Image's id → boxes, the best scores first."""
    found: dict[Any, list] = {image['id']: [] for image in images}
    for entry in entries:
        if entry['score'] >= LEAST_SCORE and entry['image_id'] in found:
            found[entry['image_id']].append(_box(entry, places, round(entry['score'], 3)))
    return {
        key: sorted(boxes, key=lambda box: -box[-1])[:MOST_DETECTIONS]
        for key, boxes in found.items()
    }


def _box(entry: dict, places: Mapping[Any, int], score: float) -> list[float]:
    corners = [round(float(value), 1) for value in entry['bbox']]
    return [*corners, places[entry['category_id']], score]


def _picture(image: dict, folder: Path | None, boxes: list[list]) -> Picture:
    """An image file, small enough for a page."""
    path = Path(image.get('file_name', str(image['id'])))
    found = None
    if folder is not None and (folder / path).is_file():
        found = cv2.imread(str(folder / path))
    if found is None:
        ends = [box[i] + box[i + 2] for source in boxes for box in source for i in (0, 1)]
        side = max([1.0, *ends])
        return Picture(path.name, (image.get('width', side), image.get('height', side)), '', boxes)
    height, width = found.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = cv2.resize(found, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Picture(path.name, (width, height), jpeg_uri(small), boxes)

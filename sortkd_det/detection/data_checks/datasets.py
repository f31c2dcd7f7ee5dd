"""A COCO data set beside its file: its classes, and what it leaves over of images and boxes."""

import os
from collections import Counter
from collections.abc import Callable

import numpy as np
from mmengine.fileio import list_from_file

from .coco_file import CocoFile
from .findings import Count, Report, shorten
from .parts import Part, class_of

_TOLERANCE = 1.0  # pixels that a box may reach beyond its image, as rounding makes it
_OF_LEFT_OUT = 'are of images that the data set leaves out'


def class_names(part: Part, report: Report) -> list[str] | None:
    """The classes that a data set's config, or its type, names, as MMEngine reads them.

    Returns:
        The names; empty: those of the file; None where there are errors.
    """
    names = (part.config.get('metainfo') or {}).get('classes')
    if names is None:
        names = class_of(part.config).METAINFO.get('classes')
    if names is None:
        return []
    setting = f'{part.loader}: metainfo.classes'
    if isinstance(names, str):
        if not os.path.isfile(names):
            report.add(
                setting,
                f'is the text {names!r}',
                f'expected a tuple of names, ({names!r},) for one, or the path of a file with one '
                'name a line',
                error=ValueError,
            )
            return None
        names = list_from_file(names)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        report.add(
            setting,
            f'names {twice[:8]} more than once: {list(names)}',
            'expected each class once',
            error=ValueError,
        )
        return None
    return list(names)


def check_classes(file: CocoFile, wanted: list[str], report: Report, cure: str = '') -> bool:
    """Whether a file has the wanted classes, in their order; ``cure``, if another than usual."""
    names = file.category_names
    absent = [name for name in wanted if name not in names]
    if absent:
        report.add(
            file.path,
            f'are not in it: {absent[:8]}',
            f'the file has {sorted(names)[:12]}. '
            + (
                cure
                or "Set metainfo.classes of the data sets, and the heads' num_classes, to what the "
                'file holds'
            ),
            count=len(absent),
            total=len(wanted),
            things='classes of the config',
            error=ValueError,
        )
        return False
    numbered = [name for name in names if name in wanted]
    if numbered == wanted:
        return True
    index = next(i for i, name in enumerate(wanted) if name != numbered[i])
    report.add(
        file.path,
        'lists its categories in another order than the config its classes: number '
        f'{index} is {numbered[index]!r} in the file and {wanted[index]!r} in the config. '
        "MMDetection numbers labels in the file's order, so names, and a teacher's classes, would "
        'be mixed up',
        cure or 'set metainfo.classes in the order of the file, or reorder its "categories"',
        error=ValueError,
    )
    return False


def used_images(part: Part, file: CocoFile, classes: list[str]) -> np.ndarray:
    """The images that the data set hands out, by their places in the file; (K,) int64.

    As ``CocoDataset.filter_data`` chooses, and ``indices`` after it.
    """
    chosen = np.ones(len(file.image_ids), dtype=bool)
    for left_out, _, _ in _image_reasons(part, file, classes):
        chosen &= ~left_out
    places = np.flatnonzero(chosen)
    indices = part.indices
    if indices is None:
        return places
    if isinstance(indices, int):
        return places[:indices] if indices >= 0 else places[indices:]
    return places[list(indices)]


def check_boxes(
    part: Part, file: CocoFile, classes: list[str], images: np.ndarray, report: Report
) -> str:
    """Count what a data set hands out of its file, and note what it leaves out.

    Each image and box that is left out is counted once, by the first reason that there is.

    Args:
        part: the data set.
        file: its annotations.
        classes: of the config, or of the file.
        images: (K,) int64, what :func:`used_images` says of them.
        report: takes what is found.

    Returns:
        What the data set lacks to be used, or nothing.
    """
    is_used = np.bincount(images, minlength=len(file.image_ids)) > 0
    image_reasons = _image_reasons(part, file, classes)
    if part.indices is not None:
        is_chosen = ~np.logical_or.reduce([np.zeros_like(is_used), *(r[0] for r in image_reasons)])
        left_out = (is_chosen & ~is_used, 'are left out by indices', 'nothing, if that is meant')
        image_reasons.append(left_out)
    box_reasons = _box_reasons(part, file, classes, is_used)
    left = ~np.logical_or.reduce([file.ignored, *(reason for reason, _, _ in box_reasons)])
    per_image = np.bincount(file.image[left], minlength=len(file.image_ids))[images]
    report.counts.append(
        Count(
            part.loader,
            shorten(file.path),
            len(file.image_ids),
            len(file.boxes),
            len(images),
            int(per_image.sum()),
            int((per_image == 0).sum()),
        )
    )
    for_images = _applied(image_reasons, file, 'images', file.first_image)
    for_boxes = _applied(box_reasons, file, 'boxes', file.first_box)
    whole = f'{shorten(file.path)} has {len(file.image_ids):,} images and {len(file.boxes):,} boxes'
    if not len(images):
        why = [
            f'; {each["count"]:,} of the boxes {each["what"]}'
            for each in for_boxes
            if each['what'] != _OF_LEFT_OUT
        ]
        return f'{whole}{_share(for_images, "of the images")}{"".join(why)}'
    if part.is_training and not per_image.any():
        return f'{whole}{_share(for_boxes, "of them")}'
    for details in for_images + for_boxes:
        report.add(file.path, **details)
    _note_beyond(file, report)
    return ''


_Reasons = list[tuple[np.ndarray, str, str]]  # which, what about them, what to do


def _image_reasons(part: Part, file: CocoFile, classes: list[str]) -> _Reasons:
    """Why ``filter_data`` leaves images out; masks are (N,) bool."""
    reasons = []
    if part.filters.get('filter_empty_gt'):
        of_class = is_of(file, classes) & (file.image >= 0)
        with_box = np.bincount(file.image[of_class], minlength=len(file.image_ids)) > 0
        reasons.append(
            (
                ~with_box,
                'have no box of a class of the config: filter_cfg.filter_empty_gt leaves them out',
                'to train on them as well, set it to False',
            )
        )
    min_size = part.filters.get('min_size', 0)
    if min_size:
        reasons.append(
            (
                file.sizes.min(axis=1) < min_size,
                f'are smaller than filter_cfg.min_size = {min_size}, which leaves them out',
                'to use them, set filter_cfg.min_size to 0',
            )
        )
    return reasons


def _box_reasons(part: Part, file: CocoFile, classes: list[str], is_used: np.ndarray) -> _Reasons:
    """Why ``parse_data_info`` and the filter leave boxes out; masks are (M,) bool.

    Of a data set to evaluate on crowds are handed out, and the metric tells of ``ignore``.
    """
    unnamed = (
        ~is_of(file, classes),
        'are of a class that the config does not name: MMDetection leaves them out',
        'if they are meant, add it to metainfo.classes',
    )
    if not part.is_training:
        return [unnamed, *_odd_reasons(file, are_judged=True)]
    return [
        *_odd_reasons(file),
        unnamed,
        (
            file.ignored,
            'have "ignore" set: MMDetection leaves them out',
            'if they are meant, set it to 0',
        ),
        (
            file.crowd,
            'are crowds (iscrowd 1), which MMDetection ignores',
            'if each is one object, set iscrowd to 0: tools that write masks as RLE often set 1',
        ),
        (
            ~np.append(is_used, False)[file.image],
            _OF_LEFT_OUT,
            'see what leaves the images out',
        ),
    ]


def _odd_reasons(file: CocoFile, are_judged: bool = False) -> _Reasons:
    """What cannot be meant; pycocotools counts it as ground truth, the data set leaves it out."""
    small, outside = file.degenerate
    fate = 'MMDetection leaves them out'
    if are_judged:
        fate = "the data set leaves them out, and COCO's metric counts them all the same"
    return [
        (
            file.image < 0,
            'are of an image that the file does not have: MMDetection leaves them out',
            'give them the image_id of an image, as number or text as it stands there',
        ),
        (
            small,
            f'are less than one pixel wide or high, or of no area: {fate}',
            'expected bbox [x, y, width, height] and area in pixels',
        ),
        (
            outside,
            f'are outside of their image: {fate}',
            'expected bbox [x, y, width, height] in pixels of the image',
        ),
    ]


def is_of(file: CocoFile, classes: list[str]) -> np.ndarray:
    """Which boxes are of one of the classes; (M,) bool."""
    return np.isin(file.category_names, classes)[file.category]


def note_odd_boxes(file: CocoFile, report: Report) -> None:
    """Note a metric's boxes that cannot be meant: of no image or size, outside of or beyond it."""
    for details in _applied(_odd_reasons(file, are_judged=True), file, 'boxes', file.first_box):
        report.add(file.path, **details)
    _note_beyond(file, report)


def _applied(
    reasons: _Reasons, file: CocoFile, things: str, first: Callable[[np.ndarray], str]
) -> list[dict]:
    """The reasons that apply, as findings; each thing is counted by the first of its own."""
    found = []
    left = True
    for mask, what, cure in reasons:
        chosen = mask & left
        left = ~mask & left
        if chosen.any():
            found.append(
                dict(
                    what=what,
                    cure=cure,
                    count=int(chosen.sum()),
                    total=len(mask),
                    things=things,
                    first=first(chosen),
                )
            )
    return found


def _share(found: list[dict], of_them: str) -> str:
    """The end of a sentence: why nothing is left."""
    if len(found) == 1:
        return f', and all {of_them} {found[0]["what"]}'
    parts = [f'{each["count"]:,} {of_them} {each["what"]}' for each in found]
    return f': {"; ".join(parts)}' if parts else ''


def _note_beyond(file: CocoFile, report: Report) -> None:
    """Count boxes that reach beyond their image: often they were given as corners."""
    small, outside = file.degenerate
    looked_at = (file.image >= 0) & ~small & ~outside
    x, y, width, height = file.boxes.T
    image_width, image_height = file.sizes_of_boxes.T
    beyond = (x < -_TOLERANCE) | (x + width > image_width + _TOLERANCE)
    beyond |= (y < -_TOLERANCE) | (y + height > image_height + _TOLERANCE)
    beyond &= looked_at
    if not beyond.any():
        return
    corners = (width > x) & (height > y)
    corners &= (width <= image_width + _TOLERANCE) & (height <= image_height + _TOLERANCE)
    if corners[looked_at].all():
        cure = 'all boxes would fit as corners [left, top, right, bottom]: COCO has [x, y, width, '
        cure += 'height]'
    else:
        cure = 'expected [x, y, width, height] in pixels of the image; usually these are corners, '
        cure += 'or of a larger copy of the images'
    report.add(
        file.path,
        'reach beyond their image',
        cure,
        count=int(beyond.sum()),
        total=len(beyond),
        things='boxes',
        first=file.first_box(beyond),
    )

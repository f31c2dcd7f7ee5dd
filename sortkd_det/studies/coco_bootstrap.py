"""COCO AP of resampled images: what the choice of the test images adds to an AP.

A draw of images with replacement is a count for each image. Images are matched once, by
pycocotools; what depends on the counts is its accumulation, which is done here for many draws
at a time, to the same numbers as if images were copied. Efron, "Bootstrap Methods" (1979).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The area range, the IoU thresholds, and the detections of an image and class at most, of what
#: CocoMetric logs: all but the first are summed up with its largest ``proposal_nums``.
COCO_METRICS = {
    'coco/bbox_mAP': ('all', slice(None), 100),
    'coco/bbox_mAP_50': ('all', slice(0, 1), 1000),
    'coco/bbox_mAP_75': ('all', slice(5, 6), 1000),
    'coco/bbox_mAP_s': ('small', slice(None), 1000),
    'coco/bbox_mAP_m': ('medium', slice(None), 1000),
    'coco/bbox_mAP_l': ('large', slice(None), 1000),
}

_AT_ONCE = 50  # draws; their cumulative sums stay in the processor's cache


@dataclass(frozen=True)
class _Class:
    """What decides the AP of one class; D detections by falling score, T IoU thresholds.

    Attributes:
        truths: [I]; boxes to be found in each image.
        images: [D]; index of the image of each detection.
        true: for each threshold the sorted indices of true positives.
        ignored: likewise of detections that count as neither true nor false.
    """

    truths: NDArray[np.int32]
    images: NDArray[np.intp]
    true: list[NDArray[np.intp]]
    ignored: list[NDArray[np.intp]]


class ResampledAP:
    """AP by draw, IoU threshold and class, of images that count several times or not at all.

    With all counts 1 it is that of ``COCOeval.accumulate``; with others that of a data set in
    which each image stands so many times, one copy after the other. Where two detections of one
    image and class have the same score, which pycocotools orders by nothing but their place,
    the copies of the first go before those of the second.

    Args:
        evaluation: a ``COCOeval`` on which ``evaluate()`` has been called, with categories.
        area: label of the area range: ``'all'``, ``'small'``, ``'medium'`` or ``'large'``.
        max_dets: detections of an image and class at most; None: the most that were matched.

    Attributes:
        image_ids: in the order of the counts.
        category_ids: in the order of the classes.

    Raises:
        ValueError: the evaluation has not been run, or not for such an area or for classes.
    """

    def __init__(self, evaluation: Any, area: str = 'all', max_dets: int | None = None) -> None:
        params = evaluation.params
        if not evaluation.evalImgs:
            raise ValueError('the evaluation has no matches yet; call its evaluate() first')
        if not params.useCats:
            raise ValueError(
                'the evaluation is without classes (useCats = 0); expected useCats = 1'
            )
        if area not in params.areaRngLbl:
            raise ValueError(f'area must be one of {", ".join(params.areaRngLbl)}, got {area!r}')
        most = params.maxDets[-1]
        max_dets = most if max_dets is None else max_dets
        if not 1 <= max_dets <= most:
            raise ValueError(f'max_dets must be from 1 to {most}, as were matched, got {max_dets}')
        self.image_ids, self.category_ids = list(params.imgIds), list(params.catIds)
        self._thresholds = len(params.iouThrs)
        self._recalls = np.asarray(params.recThrs, dtype=float)
        num_images, num_areas = len(self.image_ids), len(params.areaRng)
        # pycocotools' order: classes, areas, images.
        starts = [
            (index * num_areas + params.areaRngLbl.index(area)) * num_images
            for index in range(len(self.category_ids))
        ]
        self._classes = [
            _read_class(evaluation.evalImgs[start : start + num_images], max_dets, self._thresholds)
            for start in starts
        ]

    def __call__(self, counts: NDArray[np.integer]) -> NDArray[np.float64]:
        """Mean precision over the recall levels.

        Args:
            counts: [draws, I]; how often each image counts, ≥ 0.

        Returns:
            [draws, T, K] in [0, 1]; NaN for a class that a draw has nothing of.

        Raises:
            ValueError: counts of another shape, or below 0.
        """
        counts = np.asarray(counts)
        expected = len(self.image_ids)
        if counts.ndim != 2 or counts.shape[1] != expected:
            raise ValueError(f'counts must have the shape (draws, {expected}), got {counts.shape}')
        if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
            raise ValueError('counts must be whole numbers ≥ 0')
        counts = counts.astype(np.int32)
        result = np.full((len(counts), self._thresholds, len(self._classes)), np.nan)
        for start in range(0, len(counts), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            for index, parts in enumerate(self._classes):
                result[rows, :, index] = self._accumulate(parts, counts[rows])
        return result

    def _accumulate(self, parts: _Class, counts: NDArray[np.int32]) -> NDArray[np.float64]:
        """[draws, T] of one class."""
        truths = counts @ parts.truths
        found = truths > 0
        result = np.full((len(counts), self._thresholds), np.nan)
        result[found] = 0
        if not found.any() or not len(parts.images):
            return result
        counts, truths = counts[found], truths[found]
        needed = _needed(truths, self._recalls)
        detected = np.cumsum(counts[:, parts.images], axis=1)
        for index, (true, ignored) in enumerate(zip(parts.true, parts.ignored, strict=True)):
            if len(true):
                num_true = np.cumsum(counts[:, parts.images[true]], axis=1)
                num_all = detected[:, true]
                if len(ignored):
                    before = np.searchsorted(ignored, true)
                    num_ignored = np.cumsum(counts[:, parts.images[ignored]], axis=1)
                    num_all = num_all - np.pad(num_ignored, ((0, 0), (1, 0)))[:, before]
                result[found, index] = _mean_precision(num_true, num_all, needed)
        return result


def _read_class(matched: list[dict | None], max_dets: int, num_thresholds: int) -> _Class:
    """One class of one area, from what pycocotools keeps of each image; None: neither box."""
    truths = np.zeros(len(matched), dtype=np.int32)
    scores, images = [np.empty(0)], [np.empty(0, dtype=np.intp)]
    is_matched = [np.empty((num_thresholds, 0), dtype=bool)]
    is_ignored = list(is_matched)
    for index, entry in enumerate(matched):
        if entry is None:
            continue
        truths[index] = np.count_nonzero(np.asarray(entry['gtIgnore']) == 0)
        scores.append(np.asarray(entry['dtScores'][:max_dets], dtype=float))
        images.append(np.full(len(scores[-1]), index))
        is_matched.append(entry['dtMatches'][:, :max_dets] != 0)
        is_ignored.append(entry['dtIgnore'][:, :max_dets].astype(bool))
    order = np.argsort(-np.concatenate(scores), kind='stable')  # as pycocotools, equal scores too
    ignored = np.concatenate(is_ignored, axis=1)[:, order]
    true = np.concatenate(is_matched, axis=1)[:, order] & ~ignored
    return _Class(
        truths=truths,
        images=np.concatenate(images)[order],
        true=[np.flatnonzero(row) for row in true],
        ignored=[np.flatnonzero(row) for row in ignored],
    )


def _needed(truths: NDArray[np.integer], recalls: NDArray[np.float64]) -> NDArray[np.int64]:
    """[draws, levels]; fewest true positives whose recall, as a float, reaches a level."""
    truths = truths[:, None]
    needed = np.ceil(recalls * truths).astype(np.int64)
    # The product is rounded; what pycocotools compares is the quotient.
    needed -= (needed > 0) & ((needed - 1) / truths >= recalls)
    needed += needed / truths < recalls
    return needed


def _mean_precision(
    num_true: NDArray[np.integer], num_all: NDArray[np.integer], needed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[draws]; mean over the levels of the highest precision at that recall or a higher one.

    It is enough to look at true positives: between them precision falls. A true positive that
    counts 0 times stands for the point before it, so it changes no maximum.

    Args:
        num_true: [draws, P]; true positives up to each true positive.
        num_all: [draws, P]; detections likewise.
        needed: [draws, levels] true positives.
    """
    precision = num_true / (num_all + np.spacing(1))
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One search for all draws: each in numbers of its own.
    num_draws, width = num_true.shape
    offsets = np.arange(num_draws)[:, None] * (max(num_true.max(), needed.max()) + 1)
    places = np.searchsorted((num_true + offsets).ravel(), (needed + offsets).ravel())
    places = places.reshape(needed.shape) - np.arange(num_draws)[:, None] * width
    values = np.take_along_axis(highest, np.minimum(places, width - 1), axis=1)
    return np.where(places < width, values, 0).mean(axis=1)


def draw_counts(num_images: int, draws: int, seed: int = 0) -> NDArray[np.int32]:
    """[draws, I]; how often each image is among as many that are drawn with replacement."""
    rng = np.random.default_rng(seed)
    counts = [
        np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
        for _ in range(draws)
    ]
    return np.array(counts, dtype=np.int32).reshape(draws, num_images)


def mean_over_classes(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """[draws]; AP in [0, 1] of a [draws, T, K]; NaN for a draw without any box to find."""
    known = ~np.isnan(precision)
    number = known.sum(axis=(1, 2))
    total = np.where(known, precision, 0).sum(axis=(1, 2))
    return np.divide(total, number, out=np.full(len(precision), np.nan), where=number > 0)


@dataclass(frozen=True)
class Resampled:
    """AP in points of 100, on the images as they are and on draws of them.

    Attributes:
        ap: [1 + draws]; the first is that of ``COCOeval``.
        classes: [1 + draws, K]; NaN where there is nothing to find.
    """

    ap: NDArray[np.float64]
    classes: NDArray[np.float64]

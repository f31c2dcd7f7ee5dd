"""Rows whose target sorting changes, kept to be looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmengine.dist import all_gather_object
from numpy.typing import NDArray
from torch import Tensor

from .changed_rows import ChangedRows
from .html.page import MOST_BYTES, jpeg_uri

_CONTEXT = 0.6  # how much of a box's size is shown on each side of it
_SIDE = 320  # pixels of a picture at most


@dataclass(frozen=True, eq=False)
class Example:
    """A row of a sampled box, or of a whole image, whose label is not on top.

    Attributes:
        label: of the row.
        is_truth: whether it is a ground-truth box.
        moved: probability that sorting moves to other columns, in [0, 1].
        logits: name of a change → (C,); ``''``: as the teacher gives them.
        probabilities: likewise, in [0, 1].
        picture: around it, as a URI; empty where a row is no place.
        size: its width and height.
        box: x1, y1, x2, y2 in it.
    """

    label: int
    is_truth: bool
    moved: float
    logits: Mapping[str, NDArray]
    probabilities: Mapping[str, NDArray]
    picture: str = ''
    size: tuple[int, int] = (0, 0)
    box: tuple[float, ...] = ()


class TeacherExamples:
    """Of all rows on objects those in which sorting moves the most, from an image one at most.

    Args:
        number: how many are kept, ≥ 0.
        most_bytes: of their pictures, which bounds the memory; of more than they are, those in
            which the least moves are left out.

    Attributes:
        found: they, the most first.
    """

    def __init__(self, number: int, most_bytes: int = MOST_BYTES) -> None:
        self.number, self.most_bytes = number, most_bytes
        self.found: list[Example] = []
        self._left_out = 0.0  # the most that moves in one that was left out

    @torch.no_grad()
    def add(self, changed: ChangedRows, images: Sequence[NDArray[np.uint8]]) -> None:
        """Look at the rows of a batch.

        Args:
            changed: of a student that was given ``images``.
            images: each (H, W, 3) BGR, of which the batch's places are in pixels.
        """
        if not self.number:
            return
        batch, rows = changed.batch, changed.rows
        moved = changed.effect('sort')[:, 1]
        moved = moved * (rows.counted & rows.is_sorted & batch.is_positive)
        places = None if batch.find_places is None else batch.find_places()
        for row in _one_of_each(moved, places):
            amount = float(moved[row])
            if amount <= self._left_out:
                continue
            shown = {}
            if places is not None:
                index, *corners = places[row].tolist()
                picture, box = _crop(images[int(index)], corners)
                size = picture.shape[1], picture.shape[0]
                shown = dict(picture=jpeg_uri(picture), size=size, box=box)
            example = Example(
                int(batch.labels[row]),
                bool(rows.is_truth[row]),
                amount,
                _of_row(changed.logits, row),
                _of_row(changed.probabilities, row),
                **shown,
            )
            self._keep([*self.found, example])

    def gather(self) -> None:
        """Keep the most of all processes; call it once, when all batches are seen."""
        self._keep([each for found in all_gather_object(self.found) for each in found])

    def _keep(self, found: Sequence[Example]) -> None:
        found = sorted(found, key=lambda each: -each.moved)
        sizes = np.cumsum([len(each.picture) for each in found])
        end = min(self.number, int((sizes <= self.most_bytes).sum()))
        self.found = found[:end]
        if found[end:]:
            self._left_out = max(self._left_out, found[end].moved)


def _of_row(values: Mapping[str, Tensor], row: int) -> dict[str, NDArray[np.float64]]:
    return {name: each[row].double().cpu().numpy() for name, each in values.items()}


def _one_of_each(moved: Tensor, places: Tensor | None) -> list[int]:
    """The row of each image in which the most is moved; where rows are no places, of all."""
    best: dict[int, int] = {}
    for row in moved.argsort(descending=True, stable=True).tolist():
        if moved[row] > 0:
            best.setdefault(0 if places is None else int(places[row, 0]), row)
    return list(best.values())


def _crop(
    image: NDArray[np.uint8], corners: Sequence[float]
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """A box with what is around it, not larger than :data:`_SIDE`, and its corners there."""
    x1, y1, x2, y2 = corners
    reach = _CONTEXT * max(x2 - x1, y2 - y1, 8.0)
    height, width = image.shape[:2]
    left, top = int(max(x1 - reach, 0)), int(max(y1 - reach, 0))
    right, bottom = int(min(x2 + reach, width)), int(min(y2 + reach, height))
    picture = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = _SIDE / max(picture.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size = [max(round(scale * side), 1) for side in picture.shape[1::-1]]
    box = tuple(scale * value for value in (x1 - left, y1 - top, x2 - left, y2 - top))
    return cv2.resize(picture, size, interpolation=kind), box

"""The objects of a batch, and which of them a row of logits is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ObjectRows:
    """Rows of a student's logits that are trained to find an object.

    Attributes:
        logits: (N, C) or (N, C + 1), with the student's graph.
        labels: (N,) int64 in [0, C).
        weight: (N,) float32, of the head's own loss.
        objects: (N,) int64 in [0, G), which object of the batch.
        boxes: (N, 4), where the row is: its RoI, its predicted box or its prior.
        source: the tensors that the head's own loss reads, from which ``logits`` are taken.
    """

    logits: Tensor
    labels: Tensor
    weight: Tensor
    objects: Tensor
    boxes: Tensor
    source: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Objects:
    """The G annotated objects of a batch, image after image.

    Attributes:
        boxes: (G, 4), x1, y1, x2, y2 in pixels of the student's input.
        labels: (G,) int64 in [0, C).
        images: (G,) int64, which image of the batch.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor

    @classmethod
    def of(cls, data_samples: Sequence) -> 'Objects':
        """Those of samples with ``gt_instances``."""
        found = [sample.gt_instances for sample in data_samples]
        labels = torch.cat([each.labels for each in found])
        sizes = labels.new_tensor([len(each.labels) for each in found])
        return cls(
            torch.cat([boxes_of(each) for each in found]).float(),
            labels,
            _numbers(sizes).repeat_interleave(sizes),
        )

    def by_target(self, targets: Tensor, labels: Tensor, images: Tensor) -> Tensor | None:
        """The object of each row, by the box that the head's own loss asks of the row.

        Args:
            targets: (N, 4), as a loss was given them.
            labels: (N,) int64, of the rows.
            images: (N,) int64, likewise.

        Returns:
            (N,) int64 in [0, G); None where one of the targets is no box of its image and label,
            to half a pixel: then they are no boxes in pixels.
        """
        if len(labels) == 0:
            return labels
        away = torch.cdist(targets.detach().float(), self.boxes, p=torch.inf)
        nearest, found = away.masked_fill(~self._fits(labels, images), torch.inf).min(1)
        rounding = 2 * torch.finfo(targets.dtype).eps * self.boxes.max()  # of half precision
        return found if bool((nearest <= 0.5 + rounding).all()) else None

    def by_overlap(self, boxes: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """The object of each row: of its image's objects of its label that with the largest IoU
        with the row's own box, or the nearest where it overlaps none.

        Args:
            boxes: (N, 4), the rows' RoIs or priors.
            labels: (N,) int64.
            images: (N,) int64.

        Returns:
            (N,) int64 in [0, G).

        Raises:
            ValueError: the image of a row has no object of its label.
        """
        from mmdet.structures.bbox import bbox_overlaps

        if len(labels) == 0:
            return labels
        fits = self._fits(labels, images)
        if not bool(fits.any(1).all()):
            raise ValueError(
                f'{int((~fits.any(1)).sum())} of {len(labels)} rows that the student is to learn '
                'have the label of no object of their image; expected labels of gt_instances'
            )
        near = -torch.cdist(centres(boxes), centres(self.boxes))
        overlap = bbox_overlaps(boxes.detach().float(), self.boxes)
        score = torch.where(overlap > 0, overlap, near - 1)  # any overlap before any distance
        return score.masked_fill(~fits, -torch.inf).argmax(1)

    def _fits(self, labels: Tensor, images: Tensor) -> Tensor:
        """(N, G) bool: of one image and one class."""
        return (labels[:, None] == self.labels) & (images[:, None] == self.images)


def boxes_of(instances: Any) -> Tensor:
    """(N, 4) of ``gt_instances``, whose boxes are a tensor or MMDetection's ``HorizontalBoxes``."""
    return getattr(instances.bboxes, 'tensor', instances.bboxes)


def contain(boxes: Tensor, points: Tensor) -> Tensor:
    """(N, P) bool: which of (P, 2) points lie in which of (N, 4) boxes, edges included."""
    boxes = boxes[:, None]
    return ((points >= boxes[..., :2]) & (points <= boxes[..., 2:])).all(2)


def centres(boxes: Tensor) -> Tensor:
    """(N, 2), the centres of (N, 4) boxes; of (N, 2) points the points themselves."""
    boxes = boxes.float()  # their sum has no place in half precision
    return (boxes[:, :2] + boxes[:, -2:]) / 2


def _numbers(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)

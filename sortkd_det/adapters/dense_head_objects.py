"""Dense heads, object by object: the student's positives, and a teacher's best prior of each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .dense_head_reader import DenseRows, all_logits, class_maps, gather, reader_of, rows_where
from .dense_heads import (
    GIVEN_AN_OBJECT,
    WITHOUT_LABELS,
    activation_of_head,
    ask,
    check_places,
    check_readable,
    is_head,
    places_of,
    priors_of,
    strides_of,
)
from .loss_calls import LossCalls, as_logits
from .objects import ObjectRows, Objects, centres, contain
from .reader import Reader

_STRIDES_OF_A_POINT = 8  # the side of a square around it, as wide as ATSS's and GFL's anchors


class DenseObjectReader(Reader):
    """The positives of a student's dense head, and which object each is trained to find.

    Args:
        head: the student's ``bbox_head``.
        student: the detector.

    Raises:
        ValueError: a head that cannot be read, or that assigns no labels.
    """

    def __init__(self, head: nn.Module, student: nn.Module) -> None:
        check_readable(head, 'student')
        check_places(head, 'student')
        if is_head(head, *WITHOUT_LABELS):
            raise ValueError(
                f'{type(head).__name__} hands no labels to its losses, so that ObjectAdapter '
                'cannot tell which of its rows are to find an object; a teacher of the same '
                'priors serves instead, by DenseHeadAdapter'
            )
        self.head = head
        self.num_classes = head.num_classes
        self.activation = activation_of_head(head)
        self.reader = reader_of(head, student)
        self.boxes = LossCalls(_loss_of_boxes(head))
        super().__init__(self.reader, self.boxes)

    def rows(self, objects: Objects, data_samples: Sequence) -> list[ObjectRows]:
        """The positives of the batch; the object of each by the target box that the head's own
        loss asks of it, where that is in pixels or strides; else by its prior's overlap.

        Args:
            objects: those of the batch.
            data_samples: its samples.
        """
        maps = self.reader.maps
        labels, weight = self.reader.read(data_samples)
        rows = rows_where(labels != self.num_classes, maps)
        strides = _strides(self.head, rows)
        found = self._by_target(objects, rows, labels, strides)
        labels, weight = (each[rows.image, rows.index] for each in (labels, weight))
        if found is None:
            priors = boxes_of_priors(self.head, maps, rows)
            found = objects.by_overlap(priors, labels, rows.image), priors
        logits = gather(maps, rows, getattr(self.head, 'loss_cls', None))
        return [ObjectRows(logits, labels, weight, *found, self.reader.sources)]

    def _by_target(
        self, objects: Objects, rows: DenseRows, labels: Tensor, strides: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """(N,) objects and (N, 4) predicted boxes in pixels, from what the loss of boxes was given:
        boxes of the positives or of all rows, in pixels, or in strides from the image's corner
        (GFL), or from the row's point (FCOS with ``norm_on_bbox``).
        """
        shapes = [call.target.shape for call in self.boxes]
        if not shapes or any(len(shape) != 2 or shape[1] != 4 for shape in shapes):
            return None
        predicted = torch.cat([call.scores.detach() for call in self.boxes])
        targets = torch.cat([call.target for call in self.boxes])
        of_all = len(targets) == labels.numel()
        if not of_all and len(targets) != len(rows.index):
            return None
        places = torch.arange(labels.numel(), device=labels.device)
        labels = labels[rows.image, rows.index]
        points = centres(places_of(self.head, self.reader.maps)[rows.index]).repeat(1, 2)
        scale = (strides * getattr(self.head, 'point_base_scale', 1))[:, None]  # RepPoints' own
        for arrange in self.reader.orders:
            place = arrange(places, self.reader.sizes)[rows.image, rows.index]
            row_of = place if of_all else place.argsort().argsort()  # positives lie as all rows do
            for origin, unit in ((0.0, 1.0), (0.0, scale), (points, scale)):
                asked, seen = (
                    (boxes[row_of] - origin) * unit + origin for boxes in (targets, predicted)
                )
                found = objects.by_target(asked, labels, rows.image)
                if found is not None:
                    return found, seen
        return None


def boxes_of_priors(head: nn.Module, maps: Sequence[Tensor], rows: DenseRows) -> Tensor:
    """(N, 4), in pixels: the anchors of ``rows``, or squares around their points.

    Args:
        head: whose priors lie in pixels, as :func:`~.dense_heads.check_places` asks.
        maps: that the rows are of.
        rows: N of their priors.
    """
    priors = places_of(head, maps)[rows.index]
    if priors.shape[1] == 2:
        half = _strides(head, rows)[:, None] * _STRIDES_OF_A_POINT / 2
        priors = torch.cat([priors - half, priors + half], 1)
    return priors


def _strides(head: nn.Module, rows: DenseRows) -> Tensor:
    """(N,) float32, in pixels, of the levels of ``rows``."""
    device = rows.index.device
    counts = torch.tensor([len(level[0]) for level in rows.levels], device=device)
    widths = torch.tensor(strides_of(priors_of(head)), dtype=torch.float32, device=device)
    return widths.repeat_interleave(counts)


def _loss_of_boxes(head: nn.Module) -> Any:
    """The loss that is given the target box of each positive, or of each row; or None."""
    if is_head(head, 'YOLOFHead'):  # it is given objects, each with several rows, in their order
        return None
    refined = is_head(head, 'RepPointsHead')  # whose classes are of its refined boxes
    return getattr(head, 'loss_bbox_refine' if refined else 'loss_bbox', None)


class DensePriors:
    """A frozen dense head, asked for the prior that sees an object best.

    Args:
        head: the teacher's ``bbox_head``.
        joint: whether the head's chance of a class is to be multiplied by that of any object,
            where it tells them apart (YOLOX, YOLOv3, AutoAssign).

    Raises:
        ValueError: a head that cannot be read.
    """

    def __init__(self, head: nn.Module, joint: bool) -> None:
        check_readable(head, 'teacher')
        check_places(head, 'teacher')
        self.head = head
        self.num_classes = head.num_classes
        self.activation = activation_of_head(head)
        self.joint = joint and is_head(head, *GIVEN_AN_OBJECT)

    def maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(B, A, C, H, W) logits of each level."""
        output = ask(self.head, features)
        maps = [
            as_logits(level, getattr(self.head, 'loss_cls', None))
            for level in class_maps(self.head, output)
        ]
        if not self.joint:
            return maps
        if hasattr(self.head, 'num_attrib'):  # YOLOv3: box, objectness, classes
            any_object = [
                level.unflatten(1, (-1, self.head.num_attrib))[:, :, 4:5] for level in output[0]
            ]
        else:
            any_object = [level[:, :, None] for level in output[2]]
        return [joint_logits(level, other) for level, other in zip(maps, any_object, strict=True)]

    def look(self, maps: Sequence[Tensor], objects: Objects) -> tuple[Tensor, Tensor]:
        """Of each object the prior with its centre in the object's box (where there is none, the
        nearest) that gives its class the largest probability.

        Args:
            maps: of each level (B, A, C, H, W), or C + 1, in the student's classes.
            objects: the G objects of the batch.

        Returns:
            Their logits (G, C) or (G, C + 1), and (G,) bool, all true.
        """
        places = centres(places_of(self.head, maps))
        logits = [maps[0].new_zeros(0, maps[0].shape[2])]
        for image in range(len(maps[0])):
            here = objects.images == image
            boxes = objects.boxes[here]
            if len(boxes) == 0:
                continue
            score = all_logits([each[image : image + 1] for each in maps], maps, None)
            chance = score.float()
            if self.activation == 'softmax':
                chance = chance.log_softmax(1)
            chance = chance[:, objects.labels[here]].t()  # (g, P)
            inside = contain(boxes, places)
            away = torch.cdist(centres(boxes), places)
            inside |= away == away.amin(1, keepdim=True)
            logits.append(score[chance.masked_fill(~inside, -torch.inf).argmax(1)])
        return torch.cat(logits), torch.ones_like(objects.labels, dtype=torch.bool)


def joint_logits(given: Tensor, any_object: Tensor) -> Tensor:
    """Log-odds of σ(given) · σ(any_object): of a class, from those of it given an object and
    those of any object.
    """
    given, any_object = torch.broadcast_tensors(given.float(), any_object.float())
    both = torch.stack([torch.zeros_like(given), given, any_object])
    return given + any_object - both.logsumexp(0)

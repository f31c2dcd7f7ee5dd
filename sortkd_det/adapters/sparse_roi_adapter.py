"""Sparse R-CNN and QueryInst: stages of queries, each matched to an object or to none."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS

from .detector_adapter import DetectorAdapter
from .loss_calls import LossCalls, activation_of
from .roi_head_adapter import is_sparse, stage_weights


@ADAPTERS.register_module()
class SparseRoIAdapter(DetectorAdapter):
    """Each matched query of the student is taught by the teacher's best query for its object.

    Two such detectors have no boxes in common: each has proposals of its own. What both
    have are the objects. That of a row is the target box that the student's own
    ``loss_iou`` is given for it. The teacher runs backbone, neck, its proposals and all
    stages; of its last stage, the query is best for an object whose overlap (IoU) times
    probability of the object's class is largest. Rows of objects that it overlaps nowhere
    have weight 0.

    Args:
        student: a detector with a ``SparseRoIHead``.
        teacher: likewise, with as many classes and the same kind of logits.

    Raises:
        ValueError: heads of another kind, numbers of classes or activations that differ, or
            a model without normalisation.
    """

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        models = {'student': student, 'teacher': teacher.model}
        for who, model in models.items():
            if not is_sparse(model):
                raise ValueError(
                    f'the {who} is a {type(model).__name__} without a SparseRoIHead; '
                    'SparseRoIAdapter reads Sparse R-CNN and QueryInst'
                )
        self.head = student.roi_head
        self.num_classes, teacher_classes = (
            model.roi_head.bbox_head[-1].num_classes for model in models.values()
        )
        self.check_num_classes(self.num_classes, teacher_classes)
        self.activation, teacher_activation = (
            activation_of(model.roi_head.bbox_head[-1].loss_cls) for model in models.values()
        )
        if self.activation != teacher_activation:
            raise ValueError(
                f'the class logits of the teacher go through a {teacher_activation}, and those of '
                f'the student through a {self.activation}; SparseRoIAdapter expects the same'
            )
        self.stages = [
            (LossCalls(each.loss_cls), LossCalls(each.loss_iou)) for each in self.head.bbox_head
        ]
        super().__init__(student, teacher)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both are of the family."""
        return is_sparse(student) and is_sparse(teacher)

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the losses of classes and boxes of each stage."""
        return [handle for calls in self.stages for each in calls for handle in each.attach()]

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        for calls in self.stages:
            for each in calls:
                each.clear()

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Run the teacher, and find its query for the object of each matched row.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances`` and ``img_shape``.

        Returns:
            N = matched queries of all stages; background is C.

        Raises:
            ValueError: a stage did not call its losses as a head with such stages does, or
                asks for a box that is none of the objects'.
        """
        objects = Objects.of(data_samples)
        num_images = len(data_samples)
        rows = [self._matched_rows(*calls, objects, num_images) for calls in self.stages]
        shares = stage_weights(self.head)
        features = self.teacher_features()
        if self.teacher.dtype is not None:  # mmcv's RoIAlign has no bfloat16, on the CPU no float16
            features = tuple(level.float() for level in features)
        with torch.no_grad(), self.teacher.precision(inputs.device):
            scores, boxes = see_by_stages(self.teacher.model, features, data_samples)
            taught, seen = _best_queries(scores, boxes, self.activation, objects)
        which = torch.cat([each.objects for each in rows])
        weight = torch.cat([each.weight * by for each, by in zip(rows, shares, strict=True)])
        batch = LogitBatch(
            student=torch.cat([each.logits for each in rows]),
            teacher=taught[which],
            labels=objects.labels[which],
            weight=weight * seen[which],
            activation=self.activation,
            background=self.num_classes,
            divisor='positives',
            sources=[classes[0].scores for classes, _ in self.stages],
        )
        self.reset()
        return batch

    def _matched_rows(
        self, classes: LossCalls, boxes: LossCalls, objects: 'Objects', num_images: int
    ) -> '_MatchedRows':
        """The rows of a stage that its own loss has matched to objects."""
        name = type(self.head).__name__
        if len(classes) != 1 or len(boxes) > 1 or len(classes[0].scores) % num_images:
            raise ValueError(
                f'a stage of {name} called its loss_cls {len(classes)} times and its loss_iou '
                f'{len(boxes)} times in one forward; SparseRoIAdapter expects one call of each, '
                'with as many queries for each image'
            )
        (call,) = classes
        rows = (call.target != self.num_classes).nonzero().squeeze(1)
        targets = boxes[0].target if boxes else objects.boxes[:0]
        images = rows // (len(call.scores) // num_images)
        if (
            len(targets) != len(rows)
            or (found := objects.by_target(targets, call.target[rows], images)) is None
        ):
            raise ValueError(
                f'the {len(targets)} boxes that a stage of {name} gave to its loss_iou are not '
                f'those of the objects of its {len(rows)} matched rows; SparseRoIAdapter expects '
                'a target box in pixels for each, as in gt_instances'
            )
        weight = torch.ones_like(call.scores[:, 0]) if call.weight is None else call.weight
        return _MatchedRows(call.scores[rows], weight[rows].detach(), found)


def see_by_stages(
    model: nn.Module, features: Sequence[Tensor], data_samples: Sequence
) -> tuple[Tensor, Tensor]:
    """What the last stage of such a detector says of the images.

    Args:
        model: the detector, in eval mode.
        features: the levels of its neck, each (B, C, H, W).
        data_samples: B samples with ``img_shape``.

    Returns:
        Logits (B, Q, C) and boxes (B, Q, 4), x1, y1, x2, y2 in pixels of the input.
    """
    from mmdet.structures.bbox import bbox2roi

    found = model.rpn_head.predict(features, data_samples)
    queries = torch.stack([each.features for each in found])
    boxes = [each.bboxes for each in found]
    metas = [sample.metainfo for sample in data_samples]
    for stage in range(model.roi_head.num_stages):
        result = model.roi_head._bbox_forward(stage, features, bbox2roi(boxes), queries, metas)
        queries, boxes = result['object_feats'], result['detached_proposals']
    return result['cls_score'], torch.stack(boxes)


def _best_queries(
    scores: Tensor, boxes: Tensor, activation: str, objects: 'Objects'
) -> tuple[Tensor, Tensor]:
    """For each of G objects the logits of its best query, (G, C), and whether it overlaps it."""
    from mmdet.structures.bbox import bbox_overlaps

    chances = scores.float().sigmoid() if activation == 'sigmoid' else scores.float().softmax(2)
    overlaps = bbox_overlaps(objects.boxes[:, None], boxes.float()[objects.images])[:, 0]  # (G, Q)
    best, query = (overlaps * chances[objects.images, :, objects.labels]).max(1)
    return scores[objects.images, query], best > 0


@dataclass(frozen=True, eq=False)
class _MatchedRows:
    """Rows of a stage that are matched to objects.

    Attributes:
        logits: (N, C), with the student's graph.
        weight: (N,) of the head's own loss.
        objects: (N,) int64, which object of the batch.
    """

    logits: Tensor
    weight: Tensor
    objects: Tensor


@dataclass(frozen=True, eq=False)
class Objects:
    """The G annotated objects of a batch, image after image.

    Attributes:
        boxes: (G, 4), x1, y1, x2, y2 in pixels of the input.
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
        counts = labels.new_tensor([len(each.labels) for each in found])
        images = torch.arange(len(found), device=labels.device).repeat_interleave(counts)
        boxes = [getattr(each.bboxes, 'tensor', each.bboxes) for each in found]
        return cls(torch.cat(boxes).float(), labels, images)

    def by_target(self, targets: Tensor, labels: Tensor, images: Tensor) -> Tensor | None:
        """The object of each row, by the box that the head's own loss asks of it.

        Args:
            targets: (N, 4), in pixels.
            labels: (N,) int64, of the rows.
            images: (N,) int64, likewise.

        Returns:
            (N,) int64 in [0, G); None where a target is no box of its image and label, to half
            a pixel.
        """
        if len(labels) == 0:
            return labels
        fits = (labels[:, None] == self.labels) & (images[:, None] == self.images)
        away = (targets.detach().float()[:, None] - self.boxes).abs().amax(2)
        nearest, found = away.masked_fill(~fits, torch.inf).min(1)
        return found if bool((nearest <= 0.5).all()) else None

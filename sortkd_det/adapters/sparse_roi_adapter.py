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
        rows = [self._matched_rows(*calls, objects, len(data_samples)) for calls in self.stages]
        logits, which = (torch.cat(each) for each in zip(*rows, strict=True))
        seen_logits, seen = self._teacher_queries(objects, data_samples)
        counts = torch.cat(
            [
                seen[which_of_stage].to(logits.dtype) * share
                for (_, which_of_stage), share in zip(rows, stage_weights(self.head), strict=True)
            ]
        )
        batch = LogitBatch(
            student=logits,
            teacher=seen_logits[which],
            labels=objects.labels[which],
            weight=counts,
            activation=self.activation,
            background=self.num_classes,
            divisor='positives',
            sources=[calls[0].scores for calls, _ in self.stages],
        )
        self.reset()
        return batch

    def _matched_rows(
        self, classes: LossCalls, boxes: LossCalls, objects: 'Objects', num_images: int
    ) -> tuple[Tensor, Tensor]:
        """(N, C) logits of a stage's matched rows, and which object each is of."""
        name = type(self.head).__name__
        if len(classes) != 1 or len(boxes) > 1 or len(classes[0].scores) % num_images:
            raise ValueError(
                f'a stage of {name} called its loss_cls {len(classes)} times and its loss_iou '
                f'{len(boxes)} times in one forward; SparseRoIAdapter expects one call of each, '
                'with as many queries for each image'
            )
        call = classes[0]
        rows = (call.target != self.num_classes).nonzero().squeeze(1)
        targets = boxes[0].target if boxes else objects.boxes[:0]
        if len(targets) != len(rows):
            raise ValueError(
                f'a stage of {name} asked for {len(targets)} boxes and has {len(rows)} rows of '
                'objects; SparseRoIAdapter expects a box for each'
            )
        images = rows // (len(call.scores) // num_images)
        return call.scores[rows], objects.find(targets, call.target[rows], images)

    def _teacher_queries(self, objects: 'Objects', data_samples: Sequence) -> tuple[Tensor, Tensor]:
        """For each of G objects the logits of its best query, (G, C), and whether there is one."""
        from mmdet.structures.bbox import bbox2roi, bbox_overlaps

        model, device = self.teacher.model, objects.boxes.device
        features = self.teacher_features()
        if self.teacher.dtype is not None:  # mmcv's RoIAlign has no bfloat16, on the CPU no float16
            features = tuple(level.float() for level in features)
        with torch.no_grad(), self.teacher.precision(device):
            found = model.rpn_head.predict(features, data_samples)
            queries = torch.stack([each.features for each in found])
            boxes = [each.bboxes for each in found]
            metas = [sample.metainfo for sample in data_samples]
            for stage in range(model.roi_head.num_stages):
                result = model.roi_head._bbox_forward(
                    stage, features, bbox2roi(boxes), queries, metas
                )
                queries, boxes = result['object_feats'], result['detached_proposals']
            logits = result['cls_score']  # (B, Q, C)
            scores = logits.float()
            scores = scores.sigmoid() if self.activation == 'sigmoid' else scores.softmax(2)
            overlaps = torch.cat([bbox_overlaps(objects.boxes, each.float()) for each in boxes], 1)
            fitness = overlaps.unflatten(1, logits.shape[:2])  # (G, B, Q)
            every = torch.arange(len(objects.labels), device=device)
            fitness = fitness[every, objects.images] * scores[objects.images, :, objects.labels]
            best, query = fitness.max(1)
            return logits[objects.images, query], best > 0


@dataclass(frozen=True, eq=False)
class Objects:
    """The ground-truth objects of a batch.

    Attributes:
        boxes: (G, 4), x1, y1, x2, y2 in pixels of the input.
        labels: (G,) int64.
        images: (G,) int64, which image of the batch each is on.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor

    @classmethod
    def of(cls, data_samples: Sequence) -> 'Objects':
        """Those of samples with ``gt_instances``."""
        found = [sample.gt_instances for sample in data_samples]
        labels = torch.cat([each.labels for each in found])
        counts = torch.tensor([len(each) for each in found], device=labels.device)
        images = torch.arange(len(found), device=labels.device).repeat_interleave(counts)
        boxes = [getattr(each.bboxes, 'tensor', each.bboxes) for each in found]
        return cls(torch.cat(boxes), labels, images)

    def find(self, boxes: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """(N,) int64: the object of these N boxes, labels and images.

        Raises:
            ValueError: a box that is none of its image and label, within half a pixel.
        """
        fits = (labels[:, None] == self.labels) & (images[:, None] == self.images)
        away = (boxes[:, None].float() - self.boxes.float()).abs().amax(2)
        away = away.masked_fill(~fits, torch.inf)
        if len(boxes) == 0:
            return labels
        nearest, which = away.min(1)
        if not bool((nearest < 0.5).all()):
            raise ValueError(
                'a head asks its loss_iou for a box that is no object of its image and class: '
                f'{boxes[nearest >= 0.5][0].tolist()}; expected one of those in gt_instances, in '
                'pixels of the input'
            )
        return which

"""Faster R-CNN, Mask R-CNN and their kin: one box head on sampled RoIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS

from .detector_adapter import DetectorAdapter


@ADAPTERS.register_module()
class RoIHeadAdapter(DetectorAdapter):
    """Both heads are read on the student's sampled RoIs, background included.

    The student's logits, labels, weights and RoIs pass by on their way into the
    head's ``bbox_roi_extractor`` and ``loss_cls``; its code is untouched. Samplers
    that classify first (OHEM) call both for what they choose from: what counts is
    the call that trains, reduced and not under ``no_grad``, and the RoIs last
    extracted before it. The teacher runs backbone, neck, RoI extractor (and shared
    head) and box head: no RPN, no NMS.

    Args:
        student: a two-stage detector with a ``StandardRoIHead``.
        teacher: likewise, with as many classes.

    Raises:
        ValueError: a head of another kind (named), no softmax over C + 1,
            numbers of classes that differ, or a model without normalisation.
    """

    activation = 'softmax'

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        self.head = _checked_head(student, 'student')
        teacher_head = _checked_head(teacher.model, 'teacher')
        self.num_classes = self.head.bbox_head.num_classes
        self.check_num_classes(self.num_classes, teacher_head.bbox_head.num_classes)
        super().__init__(student, teacher)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both have RoI heads that classify boxes; kinds that this adapter cannot
        read are refused by name when it is built.
        """
        return all(_box_heads(model) for model in (student, teacher))

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of the box head, of a cascade those of each stage."""
        return {
            f'{name}.num_classes': head.num_classes
            for name, head in _box_heads(model).items()
            if isinstance(getattr(head, 'num_classes', None), int)
        }

    @staticmethod
    def classify(model: nn.Module, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """What the box head of a two-stage detector says of boxes.

        Args:
            model: the detector.
            features: the levels of its neck, each (B, C, H, W).
            rois: (N, 5), image index and x1, y1, x2, y2 in pixels of the input.

        Returns:
            (N, C + 1) logits; background is C.
        """
        return model.roi_head._bbox_forward(features, rois)['cls_score']

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the student's RoI extractor and classification loss."""

        def see_rois(feats: Any, rois: Tensor, *_: Any, **__: Any) -> None:
            self._rois = rois

        def see_logits(*args: Any, **kwargs: Any) -> None:
            if torch.is_grad_enabled() == self._with_graph:
                call = _read_loss_call(self._rois, *args, **kwargs)
                if call is not None:
                    self._calls.append(call)

        return [
            self.watch(self.head.bbox_roi_extractor, see_rois),
            self.watch(self.head.bbox_head.loss_cls, see_logits),
        ]

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self._rois = None
        self._calls: list[_LossCall] = []
        self._with_graph = torch.is_grad_enabled()

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Run the teacher's head on the student's RoIs.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances``.

        Returns:
            N = all sampled RoIs and C + 1 columns; background is C.

        Raises:
            ValueError: the head did not call its ``loss_cls`` once, on a row per RoI.
        """
        if not self._calls and self._rois is not None and len(self._rois) == 0:
            call = _no_rois(inputs, self.num_classes + 1)
            teacher_logits = call.logits.detach()
        else:
            call = self._training_call()
            teacher_logits = self._teacher_logits(call.rois)
        batch = LogitBatch(
            student=call.logits,
            teacher=teacher_logits,
            labels=call.labels,
            weight=call.weight,
            activation=self.activation,
            background=self.num_classes,
            find_ground_truth=lambda: _are_ground_truth(call.rois, data_samples),
        )
        self.reset()
        return batch

    def _teacher_logits(self, rois: Tensor) -> Tensor:
        features = self.teacher_features()
        if self.teacher.dtype is not None:  # mmcv's RoIAlign has no bfloat16, on the CPU no float16
            features = tuple(level.float() for level in features)
        with torch.no_grad(), self.teacher.precision(rois.device):
            return self.classify(self.teacher.model, features, rois)

    def _training_call(self) -> '_LossCall':
        """The one call of ``loss_cls`` that trains the student."""
        head, loss_cls = type(self.head).__name__, type(self.head.bbox_head.loss_cls).__name__
        if len(self._calls) != 1:
            raise ValueError(
                f'{head} called its {loss_cls} {len(self._calls)} times, reduced and with '
                'gradients, in one forward; RoIHeadAdapter expects one such call, on the logits '
                'of the sampled RoIs, and cannot tell what to distil'
            )
        (call,) = self._calls
        num_rois = 0 if call.rois is None else len(call.rois)
        if num_rois != len(call.logits):
            raise ValueError(
                f'{head} classified {len(call.logits)} rows from {num_rois} RoIs; '
                'RoIHeadAdapter expects one row per RoI'
            )
        return call


@dataclass
class _LossCall:
    """A call of the student's ``loss_cls`` that trains it.

    Attributes:
        rois: (N, 5), image index and x1, y1, x2, y2; what was last extracted before the call,
            or None.
        logits: (N, C + 1), with the student's graph.
        labels: (N,) in [0, C]; C is background.
        weight: (N,) of the head's own loss.
    """

    rois: Tensor | None
    logits: Tensor
    labels: Tensor
    weight: Tensor


def _no_rois(inputs: Tensor, num_columns: int) -> _LossCall:
    """What a head that was given no RoIs would have been trained on."""
    logits = inputs.new_zeros(0, num_columns).requires_grad_()
    labels = torch.zeros(0, dtype=torch.int64, device=inputs.device)
    return _LossCall(inputs.new_zeros(0, 5), logits, labels, inputs.new_zeros(0))


def _read_loss_call(
    rois: Tensor | None,
    cls_score: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    avg_factor: Any = None,
    reduction_override: str | None = None,
    *_: Any,
    **__: Any,
) -> _LossCall | None:
    """What was given to one of MMDetection's classification losses; None where its values of
    single rows were asked for, by which samplers choose.
    """
    if reduction_override == 'none':
        return None
    weight = cls_score.new_ones(len(cls_score)) if weight is None else weight
    return _LossCall(rois, cls_score, label, weight)


def _box_heads(model: nn.Module) -> dict[str, nn.Module]:
    """The box heads of a two-stage detector by their names; a cascade has several."""
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    if isinstance(head, nn.ModuleList):
        return {f'roi_head.bbox_head[{stage}]': each for stage, each in enumerate(head)}
    return {} if head is None else {'roi_head.bbox_head': head}


def _checked_head(model: nn.Module, who: str) -> Any:
    """The RoI head of ``model``, if this adapter can read it."""
    from mmdet.models import roi_heads  # a detector is met, so that it is loaded

    # They sample, weight or repeat RoIs in ways of their own.
    kinds = (roi_heads.PISARoIHead, roi_heads.MultiInstanceRoIHead, roi_heads.TridentRoIHead)
    head = getattr(model, 'roi_head', None)
    if not isinstance(head, roi_heads.StandardRoIHead) or isinstance(head, kinds):
        refused = ', '.join(kind.__name__ for kind in kinds)
        raise ValueError(
            f'the {who} is a {type(model).__name__} with {type(head).__name__}; RoIHeadAdapter '
            f'reads StandardRoIHead (Faster R-CNN, Mask R-CNN) and its kin, but neither cascades '
            f'nor {refused}'
        )
    loss_cls = head.bbox_head.loss_cls
    sigmoid = getattr(loss_cls, 'use_sigmoid', False)
    if sigmoid or getattr(head.bbox_head, 'custom_activation', False):
        kind = 'a sigmoid per class' if sigmoid else 'an activation of its own'
        raise ValueError(
            f'the {who} classifies by {type(loss_cls).__name__} with {kind}; RoIHeadAdapter '
            'expects a softmax over C + 1 classes'
        )
    return head


def _are_ground_truth(rois: Tensor, data_samples: Sequence) -> Tensor:
    """(N,) bool: RoIs that equal a ground-truth box of their image to the bit.

    Args:
        rois: (N, 5), image index and x1, y1, x2, y2.
        data_samples: one per image.
    """
    found = torch.zeros(len(rois), dtype=torch.bool, device=rois.device)
    for index, sample in enumerate(data_samples):
        boxes = sample.gt_instances.bboxes
        boxes = getattr(boxes, 'tensor', boxes).to(rois)
        equal = (rois[:, None, 1:] == boxes[None]).all(2).any(1)
        found |= equal & (rois[:, 0] == index)
    return found

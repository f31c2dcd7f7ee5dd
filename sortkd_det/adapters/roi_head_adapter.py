"""Faster R-CNN, Mask R-CNN and their kin: one box head on sampled RoIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS

from .adapter import Adapter


@ADAPTERS.register_module()
class RoIHeadAdapter(Adapter):
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

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        super().__init__(student, teacher)
        self.head = _checked_head(student, 'student')
        self.teacher_head = _checked_head(teacher.model, 'teacher')
        self.num_classes = self.head.bbox_head.num_classes
        self.check_num_classes(self.num_classes, self.teacher_head.bbox_head.num_classes)
        teacher.check_preprocessors(student)
        self.reset()

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether ``model`` has an RoI head that classifies boxes; kinds that this adapter
        cannot read are refused by name when it is built.
        """
        return hasattr(getattr(model, 'roi_head', None), 'bbox_head')

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the student's RoI extractor and classification loss."""
        extractor, loss_cls = self.head.bbox_roi_extractor, self.head.bbox_head.loss_cls

        def see_rois(module: nn.Module, args: tuple, kwargs: dict) -> None:
            if module is extractor:
                self._rois = args[1] if len(args) > 1 else kwargs['rois']

        def see_logits(module: nn.Module, args: tuple, kwargs: dict) -> None:
            if module is loss_cls and torch.is_grad_enabled() == self._with_graph:
                call = _read_loss_call(self._rois, *args, **kwargs)
                if call is not None:
                    self._calls.append(call)

        return [
            extractor.register_forward_pre_hook(see_rois, with_kwargs=True),
            loss_cls.register_forward_pre_hook(see_logits, with_kwargs=True),
        ]

    def reset(self) -> None:
        """Forget the last batch."""
        self._rois = self._features = None
        self._calls: list[_LossCall] = []
        self._with_graph = torch.is_grad_enabled()

    def prepare(self, inputs: Tensor, data_samples: Sequence) -> None:
        """Run the teacher's backbone and neck.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``img_shape``.
        """
        with torch.no_grad():
            images = self.teacher.convert_inputs(inputs, self.student, data_samples)
        self._features = self.teacher.start('extract_feat', images)

    def pairs(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Run the teacher's head on the student's RoIs.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances``.

        Returns:
            Pairs of N = all sampled RoIs and C + 1 columns; background is C.

        Raises:
            ValueError: the head did not call its ``loss_cls`` once, on a row per RoI.
        """
        if not self._calls and self._rois is not None and len(self._rois) == 0:
            empty = inputs.new_zeros(0, self.num_classes + 1)
            labels = torch.zeros(0, dtype=torch.int64, device=inputs.device)
            logits = empty.clone().requires_grad_()
            return LogitBatch(logits, empty, labels, inputs.new_zeros(0), self.num_classes)
        call = self._training_call()
        features = self.teacher.finish(self._features)
        if self.teacher.dtype is not None:  # mmcv's RoIAlign has no bfloat16, on the CPU no float16
            features = tuple(level.float() for level in features)
        with torch.no_grad(), self.teacher.precision(call.rois.device):
            teacher_logits = self.teacher_head._bbox_forward(features, call.rois)['cls_score']
        pairs = LogitBatch(
            student=call.logits,
            teacher=teacher_logits,
            labels=call.labels,
            weight=call.weight,
            background=self.num_classes,
            find_ground_truth=lambda: _are_ground_truth(call.rois, data_samples),
        )
        self.reset()
        return pairs

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

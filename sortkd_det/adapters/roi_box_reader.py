"""The box loss of a two-stage student, with its teacher's boxes in the place of the truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .loss_calls import LossCall, LossCalls
from .reader import Outputs, Reader


class RoIBoxReader(Reader):
    """What the box losses of a two-stage student's stages are given.

    Args:
        heads: the box heads of the student, for which :meth:`reads` holds.
        stage_weights: by what the losses of the stages are multiplied.
    """

    def __init__(self, heads: Sequence[nn.Module], stage_weights: Sequence[float]) -> None:
        self.heads = heads
        self.stage_weights = stage_weights
        self.calls = [LossCalls(head.loss_bbox) for head in heads]
        self.outputs = [Outputs(head) for head in heads]
        super().__init__(*self.calls, *self.outputs)
        self._is_compared = False

    @staticmethod
    def reads(heads: Sequence[nn.Module], teacher_heads: Sequence[nn.Module]) -> bool:
        """Whether all say by offsets from an RoI where its box is, and the student's learn them
        as those of Faster R-CNN do.
        """
        from mmdet.models import roi_heads  # a detector is met, so that it is loaded

        kind = roi_heads.BBoxHead
        return all(map(_gives_offsets, (*heads, *teacher_heads))) and all(
            type(head).loss is kind.loss for head in heads
        )

    def finder(
        self,
        rois: Sequence[Tensor],
        labels: Sequence[Tensor],
        ask: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Callable[[bool], Tensor]:
        """A function of ``bounded`` that computes the loss of this batch.

        Args:
            rois: for each stage (N, 5), image index and x1, y1, x2, y2.
            labels: for each stage (N,), the class or, as that of background, their number.
            ask: gives the teacher's boxes for n RoIs of a stage and their labels: (n, 4) in
                pixels, and (n,) bool, whether it knows the class.
        """
        stages = list(zip(self.heads, map(list, self.calls), map(list, self.outputs), strict=True))
        shapes = list(zip(rois, labels, strict=True))

        def find(bounded: bool) -> Tensor:
            losses = [
                weight * self._stage_loss(stage, *seen, *batch, ask, bounded)
                for stage, (weight, seen, batch) in enumerate(
                    zip(self.stage_weights, stages, shapes, strict=True)
                )
                if weight > 0
            ]
            return losses[0] if len(losses) == 1 else sum(losses)

        return find

    def _stage_loss(
        self,
        stage: int,
        head: nn.Module,
        calls: Sequence[LossCall],
        outputs: Sequence[Any],
        rois: Tensor,
        labels: Tensor,
        ask: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]],
        bounded: bool,
    ) -> Tensor:
        positive = ((labels >= 0) & (labels < head.num_classes)).nonzero().squeeze(1)
        call = self._call_of(head, calls, len(positive))
        if call is None:
            return outputs[-1][1][:0].sum() if outputs else rois.new_zeros(()).requires_grad_()
        self._compare(head, call, outputs, positive, labels[positive], rois[positive])
        student, truth = call.scores, call.target
        rois, labels = rois[positive], labels[positive]
        with torch.no_grad():
            boxes, known = ask(stage, rois, labels)
            if not head.reg_decoded_bbox:
                boxes = head.bbox_coder.encode(rois[:, 1:], boxes)
            boxes = boxes.to(truth)
            counts = known
            if bounded:
                counts = counts & (
                    _row_losses(head, boxes, truth) < _row_losses(head, student, truth)
                )
            weight = torch.ones_like(truth) if call.weight is None else call.weight
            weight = weight * counts.to(weight).view(-1, *[1] * (weight.dim() - 1))
        # Not as a call of the module, whose hooks the adapters and others read.
        return head.loss_bbox.forward(student, boxes, weight, avg_factor=call.avg_factor)

    def _call_of(
        self, head: nn.Module, calls: Sequence[LossCall], num_positives: int
    ) -> LossCall | None:
        """What the stage's ``loss_bbox`` was given; None where there were no positives."""
        if len(calls) != (num_positives > 0) or (calls and len(calls[0].scores) != num_positives):
            rows = [len(call.scores) for call in calls]
            raise ValueError(
                f'{type(head).__name__} called its loss_bbox on {rows} rows, reduced and with '
                f'gradients, and {num_positives} of its RoIs are of objects; expected one call on '
                'a row for each of these: it cannot be told which boxes to teach'
            )
        return calls[0] if calls else None

    def _compare(
        self,
        head: nn.Module,
        call: LossCall,
        outputs: Sequence[tuple[Tensor, Tensor]],
        positive: Tensor,
        labels: Tensor,
        rois: Tensor,
    ) -> None:
        """Raise, at the first batch with rows, unless they are those of the RoIs, to the bit."""
        if self._is_compared:
            return
        offsets = _of_class(head, outputs[-1][1][positive], labels) if outputs else call.scores[:0]
        if head.reg_decoded_bbox:
            offsets = head.bbox_coder.decode(rois[:, 1:], offsets)
        if not torch.equal(offsets, call.scores):
            raise ValueError(
                f'{type(head).__name__} called its loss_bbox on rows that are not what it said of '
                'the RoIs of objects, in their order; it cannot be told which boxes to teach'
            )
        self._is_compared = True


def teacher_boxes(
    roi_head: nn.Module,
    features: Sequence[Tensor],
    rois: Tensor,
    labels: Tensor,
    stages: Sequence[int],
    context: Mapping[str, Tensor],
) -> Tensor:
    """Where a two-stage teacher sees the objects that RoIs are about.

    Args:
        roi_head: of the teacher.
        features: the levels of its neck, each (B, C, H, W), in float32.
        rois: (n, 5), image index and x1, y1, x2, y2 in pixels of the input.
        labels: (n,), the classes in the teacher's own numbers.
        stages: of a cascade those to ask, each at the boxes that the one before it made.
        context: what the box heads add to the features of RoIs (HTC, SCNet).

    Returns:
        (n, 4), x1, y1, x2, y2 in pixels, not clipped to the image.
    """
    is_cascade = isinstance(roi_head.bbox_head, nn.ModuleList)
    for stage in stages:
        if is_cascade:
            head = roi_head.bbox_head[stage]
            said = roi_head._bbox_forward(stage, features, rois, **context)['bbox_pred']
        else:
            head, said = roi_head.bbox_head, roi_head._bbox_forward(features, rois)['bbox_pred']
        # In float16 a place is told to a pixel at best.
        boxes = head.bbox_coder.decode(rois[:, 1:], _of_class(head, said, labels).float())
        rois = torch.cat([rois[:, :1], boxes], 1)
    return rois[:, 1:]


def _gives_offsets(head: nn.Module) -> bool:
    from mmdet.models.task_modules import DeltaXYWHBBoxCoder

    coder = getattr(head, 'bbox_coder', None)
    loss_bbox = getattr(head, 'loss_bbox', None)
    plain = type(coder) is DeltaXYWHBBoxCoder and not coder.use_box_type
    return plain and getattr(head, 'with_reg', False) and isinstance(loss_bbox, nn.Module)


def _of_class(head: nn.Module, offsets: Tensor, labels: Tensor) -> Tensor:
    """(n, 4) of (n, 4 · C), those of each row's class; of heads that have no others all."""
    if head.reg_class_agnostic:
        return offsets
    return offsets.view(len(offsets), -1, 4)[
        torch.arange(len(labels), device=labels.device), labels
    ]


def _row_losses(head: nn.Module, boxes: Tensor, truth: Tensor) -> Tensor:
    """(n,), the loss of each row."""
    losses = head.loss_bbox.forward(boxes, truth, reduction_override='none')
    return losses.reshape(len(boxes), -1).sum(1)

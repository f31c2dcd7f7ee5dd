"""The box loss of a two-stage student, with its teacher's boxes in the place of the truth."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from sortkd_det.functional import check_finite

from .loss_calls import LossCall, LossCalls
from .reader import Outputs, Reader


class RoIBoxReader(Reader):
    """What the box loss of one stage of a two-stage student is given.

    Args:
        head: the box head of the stage, for which :meth:`reads` holds.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.calls = LossCalls(head.loss_bbox)
        self.outputs = Outputs(head)
        super().__init__(self.calls, self.outputs)
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
        rois: Tensor,
        labels: Tensor,
        locate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Callable[[bool], Tensor]:
        """A function of ``bounded``, as :class:`BoxTerm` has it, that computes the loss of what
        the stage has just run on.

        Args:
            rois: (N, 5), image index and x1, y1, x2, y2.
            labels: (N,), the class or, as that of background, their number.
            locate: gives the teacher's boxes for n RoIs and their labels: (n, 4) in pixels, and
                (n,) bool, whether it knows the class.
        """
        return partial(self._loss, rois, labels, locate, list(self.calls), list(self.outputs))

    def _loss(
        self,
        rois: Tensor,
        labels: Tensor,
        locate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        calls: Sequence[LossCall],
        outputs: Sequence[tuple[Tensor, Tensor]],
        bounded: bool,
    ) -> Tensor:
        head = self.head
        positive = ((labels >= 0) & (labels < head.num_classes)).nonzero().squeeze(1)
        self._check_number(calls, len(positive))
        if not calls:
            return outputs[-1][1][:0].sum() if outputs else rois.new_zeros(()).requires_grad_()
        (call,) = calls
        self._compare(call, outputs, rois, labels, positive)
        rois, labels = rois[positive], labels[positive]
        student, truth = call.scores, call.target
        with torch.no_grad():
            boxes, counts = locate(rois, labels)
            check_finite(boxes, 'the boxes of the teacher')
            if not head.reg_decoded_bbox:
                boxes = head.bbox_coder.encode(rois[:, 1:], boxes)
            boxes = boxes.to(truth)
            if bounded:
                counts = counts & (
                    _row_losses(head, boxes, truth) < _row_losses(head, student, truth)
                )
            weight = torch.ones_like(truth) if call.weight is None else call.weight
            weight = weight * counts.to(weight).view(-1, *[1] * (weight.dim() - 1))
        # Not as a call of the module, whose hooks the adapters and others read. A loss with
        # reduction='none' has its mean taken, as MMEngine does with the student's own.
        return head.loss_bbox.forward(student, boxes, weight, avg_factor=call.avg_factor).mean()

    def _check_number(self, calls: Sequence[LossCall], num_positives: int) -> None:
        """Raise unless ``loss_bbox`` was called once, on a row for each positive, or, where there
        are none, not at all.
        """
        rows = [len(call.scores) for call in calls]
        if rows != ([num_positives] if num_positives else []):
            raise ValueError(
                f'{type(self.head).__name__} called its loss_bbox on {rows} rows, reduced and with '
                f'gradients, and {num_positives} of its RoIs are of objects; expected one call on '
                'a row for each of these: it cannot be told which boxes to teach'
            )

    def _compare(
        self,
        call: LossCall,
        outputs: Sequence[tuple[Tensor, Tensor]],
        rois: Tensor,
        labels: Tensor,
        positive: Tensor,
    ) -> None:
        """Raise, at the first batch with rows, unless they are those of the RoIs, to the bit."""
        if self._is_compared:
            return
        if outputs:
            said = outputs[-1][1]
            if self.head.reg_decoded_bbox:  # of all rows, as the head does: to the bit
                said = self.head.bbox_coder.decode(rois[:, 1:], said)
            own = of_class(self.head, said[positive], labels[positive])
            self._is_compared = torch.equal(own, call.scores)
        if not self._is_compared:
            raise ValueError(
                f'{type(self.head).__name__} called its loss_bbox on rows that are not what it '
                'said of the RoIs of objects, in their order; it cannot be told which boxes to '
                'teach'
            )


def of_class(head: nn.Module, offsets: Tensor, labels: Tensor) -> Tensor:
    """(n, 4) of (n, 4 · C), those of each row's class; of heads that have no others all."""
    if head.reg_class_agnostic:
        return offsets
    return offsets.view(len(offsets), -1, 4)[
        torch.arange(len(labels), device=labels.device), labels
    ]


def _gives_offsets(head: nn.Module) -> bool:
    from mmdet.models.task_modules import DeltaXYWHBBoxCoder

    coder = getattr(head, 'bbox_coder', None)
    loss_bbox = getattr(head, 'loss_bbox', None)
    plain = type(coder) is DeltaXYWHBBoxCoder and not coder.use_box_type
    return plain and getattr(head, 'with_reg', False) and isinstance(loss_bbox, nn.Module)


def _row_losses(head: nn.Module, boxes: Tensor, truth: Tensor) -> Tensor:
    """(n,), the loss of each row."""
    losses = head.loss_bbox.forward(boxes, truth, reduction_override='none')
    return losses.reshape(len(boxes), -1).sum(1)

"""What all logit losses share: checks, precision, weights, the average."""

import torch
from torch import Tensor, nn

from sortkd_det.functional import check_pair, check_positive, reduce_rows


class LogitLoss(nn.Module):
    """A loss that is one number per row; a subclass writes :meth:`row_losses`.

    Args:
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        ValueError: ``loss_weight`` negative or not finite.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = check_positive('loss_weight', loss_weight, allow_zero=True)

    def forward(
        self,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch, computed in float32 at least.

        Args:
            student: (N, C) logits.
            target: (N, C) logits that the student is to follow.
            labels: (N,) int64, each in [0, C).
            weight: (N,) weight of each row; None: ones.
            avg_factor: divisor of the weighted sum; None: N.

        Returns:
            Scalar tensor; for N = 0 a zero that keeps its graph.

        Raises:
            TypeError, ValueError: logits that are no floating (N, C) pair, or a
                weight of another shape.
        """
        check_pair(student, target)
        if student.dtype in (torch.float16, torch.bfloat16):
            student = student.float()
        target = target.to(student.dtype)
        losses = self.row_losses(student, target, labels)
        return self.loss_weight * reduce_rows(losses, weight, avg_factor)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row, (N,), before weights and the average."""
        raise NotImplementedError

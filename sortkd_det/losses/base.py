"""What all logit losses share: checks, precision, temperatures, weights, the average."""

from typing import Any

import torch
from torch import Tensor, nn

from sortkd_det.functional import (
    Divergence,
    check_labels,
    check_pair,
    check_positive,
    check_weight,
    fused_loss,
    reduce_rows,
    sort_logits,
)

from .temperature import build_temperature


class LogitLoss(nn.Module):
    """A loss between two matrices of logits.

    A subclass whose loss is one number per row writes :meth:`row_losses`; one
    that knows only the whole batch writes :meth:`batch_loss`.

    Args:
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        TypeError, ValueError: ``loss_weight`` no number, negative or not finite.
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
        sort: bool = False,
        ignore_index: int | None = None,
    ) -> Tensor:
        """The loss of a batch, computed in float32 at least, under autocast too.

        Args:
            student: (N, C) logits.
            target: (N, C) logits that the student is to follow.
            labels: (N,) int64, each in [0, C).
            weight: (N,) weight of each row; None: ones.
            avg_factor: divisor of the weighted sum; None: N.
            sort: whether the target is sorted by the labels first, which some losses
                do in the kernel that computes them on CUDA.
            ignore_index: rows of the target with this label are not sorted.

        Returns:
            Scalar tensor; for N = 0 a zero that keeps its graph.

        Raises:
            TypeError, ValueError: logits that are no floating (N, C) pair, labels
                that do not fit them, or a weight of another shape.
        """
        check_pair(student, target)
        check_labels(student, labels)
        check_weight(weight, len(student))
        if len(student) == 0:
            return student.sum()
        divergence = self.divergence()
        if divergence is not None:
            given = (student, target, labels, weight, avg_factor)
            fused = fused_loss(*given, divergence, sort, ignore_index)
            if fused is not None:
                return fused
        if sort:
            target = sort_logits(target, labels, ignore_index)
        dtype = torch.promote_types(student.dtype, torch.float32)
        wide = self.compute_dtype(dtype)
        with torch.autocast(student.device.type, enabled=False):
            weight = None if weight is None else weight.to(wide)
            loss = self.batch_loss(student.to(wide), target.to(wide), labels, weight, avg_factor)
            return self.loss_weight * loss.to(dtype)

    def divergence(self) -> Divergence | None:
        """What the kernel of :func:`fused_loss` is to compute, or None if it has no such loss.

        A subclass that changes the formula must not inherit it.
        """
        return None

    def compute_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype to compute in, given that of the result."""
        return dtype

    def batch_loss(
        self,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
    ) -> Tensor:
        """The loss of N ≥ 1 rows, a scalar tensor, before ``loss_weight``."""
        return reduce_rows(self.row_losses(student, target, labels), weight, avg_factor)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row, (N,), before weights and the average."""
        raise NotImplementedError


class TemperedLoss(LogitLoss):
    """A logit loss at a temperature, or the sum of it at several.

    A subclass writes :meth:`tempered_row_losses`; one that knows only the whole
    batch writes :meth:`batch_loss` and sums over :meth:`temperatures`.

    Args:
        temperature: T > 0; a list of them, whose losses are summed; or
            ``dict(type='LearnableTemperature')`` (CTKD).
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        KeyError, TypeError, ValueError: a temperature that is none of these, or
            ``loss_weight`` as in :class:`LogitLoss`.
    """

    def __init__(self, temperature: Any = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.temperature = build_temperature(temperature)

    def temperatures(self) -> tuple[float | Tensor, ...]:
        """The temperatures of this moment; a learned one is a scalar tensor."""
        if isinstance(self.temperature, nn.Module):
            return (self.temperature(),)
        if isinstance(self.temperature, tuple):
            return self.temperature
        return (self.temperature,)

    def compute_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """float64 where the temperature is learned: what reaches it is a small difference of
        large numbers, of which float32 keeps two digits.
        """
        return torch.float64 if isinstance(self.temperature, nn.Module) else dtype

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The sum over the temperatures of :meth:`tempered_row_losses`, (N,)."""
        return sum(
            self.tempered_row_losses(student, target, labels, t) for t in self.temperatures()
        )

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """The loss of each row at one temperature, (N,)."""
        raise NotImplementedError

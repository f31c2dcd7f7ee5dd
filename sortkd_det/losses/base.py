"""What all logit losses share: checks, precision, temperatures, weights, the average."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sortkd_det.functional import (
    ACTIVATIONS,
    Divergence,
    check_choice,
    check_labels,
    check_pair,
    check_positive,
    check_row_losses,
    check_scalar,
    check_weight,
    fused_loss,
    reduce_rows,
    sorts_in_kernel,
)

from .temperature import build_temperature

_UNWRITTEN = '{} has no formula; expected it to write {}'


class LogitLoss(nn.Module):
    """A loss between two matrices of logits.

    A subclass whose loss is one number per row writes :meth:`row_losses`; one
    that knows only the whole batch writes :meth:`batch_loss`. Both are about a
    softmax over the columns. One that has a loss for heads with a sigmoid for
    each class too writes :meth:`bernoulli_row_losses`, and says so.

    Attributes:
        activations: what the loss is made for: ``'softmax'``, ``'sigmoid'`` or both. A
            subclass that writes a formula anew and does not say is made for a softmax.

    Args:
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        TypeError, ValueError: ``loss_weight`` no number, negative or not finite.
    """

    activations: ClassVar[tuple[str, ...]] = ('softmax',)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        formulas = {'batch_loss', 'row_losses', 'tempered_row_losses'}
        if formulas & vars(cls).keys() and 'activations' not in vars(cls):
            cls.activations = ('softmax',)

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
        rewrite: Callable[[Tensor, Tensor], Tensor] | None = None,
        activation: str = 'softmax',
    ) -> Tensor:
        """The loss of a batch, computed in float32 at least, under autocast too.

        Args:
            student: (N, C) logits.
            target: (N, C) logits that the student is to follow.
            labels: (N,) int64, each in [0, C); with a sigmoid also C, which is no column:
                a row of background.
            weight: (N,) weight of each row; None: ones.
            avg_factor: divisor of the weighted sum; None: N.
            rewrite: what is still to be done to the target, a function of it and the labels;
                a :class:`~sortkd_det.functional.Sort` is done in the kernel that computes
                the loss on CUDA, where there is one.
            activation: what the heads make of their logits: ``'softmax'`` or ``'sigmoid'``.

        Returns:
            Scalar tensor; for N = 0 a zero that keeps its graph.

        Raises:
            TypeError, ValueError: logits that are no floating (N, C) pair, labels
                that do not fit them, a weight of another shape, or an activation that the
                loss is not made for; a subclass that gives other than one number for each
                row, or for the batch.
            NotImplementedError: a subclass without a formula.
        """
        if check_choice('activation', activation, ACTIVATIONS) not in self.activations:
            raise ValueError(
                f'{type(self).__name__} is not made for activation={activation!r}; expected '
                f'one of {self.activations}'
            )
        least = 2 if activation == 'softmax' else 1  # columns
        check_pair(student, target, least=least)
        check_labels(student, labels, student.shape[1] if least == 1 else None, least)
        check_weight(weight, len(student))
        if rewrite is not None and not sorts_in_kernel(rewrite):
            target, rewrite = rewrite(target, labels), None
            check_pair(student, target, least=least)
        if len(student) == 0:
            return student.sum()
        divergence = self.divergence(activation)
        if divergence is not None:
            given = (student, target, labels, weight, avg_factor)
            fused = fused_loss(*given, divergence, rewrite)
            if fused is not None:
                return fused
        if rewrite is not None:
            target = rewrite(target, labels)
        dtype = torch.promote_types(student.dtype, torch.float32)
        wide = self.compute_dtype(dtype)
        with torch.autocast(student.device.type, enabled=False):
            student, target = student.to(wide), target.to(wide)
            weight = None if weight is None else weight.to(wide)
            if activation == 'softmax':
                loss = self.batch_loss(student, target, labels, weight, avg_factor)
                check_scalar(loss, f'{self._get_name()}.batch_loss')
            else:
                rows = self.bernoulli_row_losses(student, target, labels)
                check_row_losses(rows, len(student), f'{self._get_name()}.bernoulli_row_losses')
                loss = reduce_rows(rows, weight, avg_factor)
            return self.loss_weight * loss.to(dtype)

    def divergence(self, activation: str) -> Divergence | None:
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
        rows = self.row_losses(student, target, labels)
        check_row_losses(rows, len(student), f'{self._get_name()}.row_losses')
        return reduce_rows(rows, weight, avg_factor)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row, (N,), before weights and the average."""
        raise NotImplementedError(_UNWRITTEN.format(self._get_name(), 'row_losses or batch_loss'))

    def bernoulli_row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """:meth:`row_losses` of heads with a sigmoid for each class; label C: background."""
        raise NotImplementedError(_UNWRITTEN.format(self._get_name(), 'bernoulli_row_losses'))


class TemperedLoss(LogitLoss):
    """A logit loss at a temperature, or the sum of it at several.

    A subclass writes :meth:`tempered_row_losses`, and
    :meth:`tempered_bernoulli_row_losses` if it is made for sigmoids too; one that
    knows only the whole batch writes :meth:`batch_loss` and sums over
    :meth:`temperatures`.

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
        raise NotImplementedError(_UNWRITTEN.format(self._get_name(), 'tempered_row_losses'))

    def bernoulli_row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The sum over the temperatures of :meth:`tempered_bernoulli_row_losses`, (N,)."""
        return sum(
            self.tempered_bernoulli_row_losses(student, target, labels, t)
            for t in self.temperatures()
        )

    def tempered_bernoulli_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """The loss of each row of sigmoid heads at one temperature, (N,)."""
        name = 'tempered_bernoulli_row_losses'
        raise NotImplementedError(_UNWRITTEN.format(self._get_name(), name))

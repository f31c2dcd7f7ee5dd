"""Knowledge distillation by softened distributions."""

from typing import Any

from torch import Tensor, nn

from sortkd_det.functional import (
    ACTIVATIONS,
    Divergence,
    bernoulli_divergence,
    check_positive,
    focused_cross_entropy,
    kl_divergence,
)
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class KDLoss(TemperedLoss):
    """T² · KL(softmax(target / T) ‖ softmax(student / T)), mean over rows.

    In heads with a sigmoid for each class: T² · Σ over classes of the KL divergence
    between the sigmoids at T.

    Args:
        temperature: T > 0, or as in :class:`TemperedLoss`.
        loss_weight: multiplies the result; ≥ 0.
        focus: β ≥ 1, for sigmoids alone: the sum is that of |p_t - p_s|^β times the binary
            cross-entropy (BCKD, whose β is 1). None: the plain divergence.

    Raises:
        TypeError, ValueError: ``focus`` no number, or below 1, where the gradient of the
            weight has no bound.

    Source: Hinton et al., arXiv 1503.02531; Yang et al., ICCV 2023, arXiv 2308.14286.
    """

    activations = ACTIVATIONS

    def __init__(
        self, temperature: Any = 1.0, loss_weight: float = 1.0, focus: float | None = None
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.focus = focus
        if focus is not None:
            if check_positive('focus', focus) < 1:
                raise ValueError(f'focus must be at least 1, got {focus}')
            self.activations = ('sigmoid',)

    def divergence(self, activation: str) -> Divergence | None:
        """KD's, at temperatures that are numbers."""
        if type(self) is not KDLoss or isinstance(self.temperature, nn.Module):
            return None
        if self.focus is not None:
            return None
        kind = 'kd' if activation == 'softmax' else 'bernoulli'
        return Divergence(kind, self.temperatures(), loss_weight=self.loss_weight)

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """T² · KL of each row, (N,)."""
        return kl_divergence(student, target, temperature)

    def tempered_bernoulli_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """The sum over the classes of each row, (N,)."""
        if self.focus is None:
            return bernoulli_divergence(student, target, temperature)
        return focused_cross_entropy(student, target, self.focus, temperature)

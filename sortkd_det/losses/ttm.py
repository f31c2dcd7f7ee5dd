"""Transformed teacher matching, plain and weighted."""

from torch import Tensor

from sortkd_det.functional import (
    ACTIVATIONS,
    check_positive,
    transformed_bernoulli,
    transformed_kd,
)
from sortkd_det.registry import MODELS

from .base import LogitLoss


@MODELS.register_module()
class TTMLoss(LogitLoss):
    """KL(p_t^γ / Σ p_t^γ ‖ p_s), the student at temperature 1, mean over rows.

    In heads with a sigmoid for each class the sum of it over the classes, each of which is
    a distribution (p, 1 - p) with a weight of its own.

    Args:
        gamma: exponent γ > 0; 1 / γ is the teacher's temperature.
        weighted: WTTM: multiply each row by Σ p_t^γ, which is large where the
            teacher is in doubt (for γ < 1).
        loss_weight: multiplies the result; ≥ 0.

    Source: Zheng and Yang, ICLR 2024, arXiv 2402.11148. γ 0.25 corresponds to
    KD's T 4 and is our start, not the paper's.
    """

    activations = ACTIVATIONS

    def __init__(
        self, gamma: float = 0.25, weighted: bool = False, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.gamma = check_positive('gamma', gamma)
        self.weighted = bool(weighted)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The divergence of each row, (N,), weighted or not."""
        divergence, weight = transformed_kd(student, target, self.gamma)
        return weight * divergence if self.weighted else divergence

    def bernoulli_row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The sum over the classes of each row, (N,), weighted or not."""
        divergences, weights = transformed_bernoulli(student, target, self.gamma)
        return (weights * divergences if self.weighted else divergences).sum(1)

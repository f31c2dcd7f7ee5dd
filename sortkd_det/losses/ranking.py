"""Losses between the orders of the classes."""

from torch import Tensor

from sortkd_det.functional import (
    ACTIVATIONS,
    check_choice,
    check_positive,
    kendall_tau,
    pearson_correlation,
    soft_rank,
)
from sortkd_det.registry import MODELS

from .base import LogitLoss


@MODELS.register_module()
class RankingLoss(LogitLoss):
    """Ranking alignment: the distance between both sides' soft ranks, mean over rows.

    Args:
        distance: ``'l2'``: mean over classes of (r(s) - r(t))²; ``'l1'``: of the
            absolute difference; ``'spearman'``: 1 - Spearman's ρ, Pearson's
            correlation of the soft ranks.
        strength: ε > 0 of :func:`~sortkd_det.functional.soft_rank`.
        loss_weight: multiplies the result; ≥ 0.

    Source: "Knowledge Distillation Based on Logit Ranking Alignment" (ICIC
    2025); its loss_weight λ is 5 on CIFAR-100 and 10 on Tiny-ImageNet, ε 1.
    """

    activations = ACTIVATIONS  # a sigmoid changes no order

    def __init__(
        self, distance: str = 'l2', strength: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.distance = check_choice('distance', distance, ('l2', 'l1', 'spearman'))
        self.strength = check_positive('strength', strength)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The distance of each row, (N,)."""
        ranks, target_ranks = soft_rank(student, self.strength), soft_rank(target, self.strength)
        if self.distance == 'l2':
            return (ranks - target_ranks).square().mean(1)
        if self.distance == 'l1':
            return (ranks - target_ranks).abs().mean(1)
        return 1 - pearson_correlation(ranks, target_ranks)

    bernoulli_row_losses = row_losses


@MODELS.register_module()
class KendallLoss(LogitLoss):
    """1 - a smooth Kendall's τ between both sides' orders of classes, mean over rows.

    Args:
        steepness: k > 0 of :func:`~sortkd_det.functional.kendall_tau`; 1 is our
            start.
        loss_weight: multiplies the result; ≥ 0.

    Source: Guan et al., ICML 2025, arXiv 2409.17823, meant to stand beside
    another distillation loss.
    """

    activations = ACTIVATIONS  # a sigmoid changes no order

    def __init__(self, steepness: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.steepness = check_positive('steepness', steepness)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """1 - τ of each row, (N,)."""
        return 1 - kendall_tau(student, target, self.steepness)

    bernoulli_row_losses = row_losses

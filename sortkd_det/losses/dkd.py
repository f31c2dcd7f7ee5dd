"""Decoupled knowledge distillation."""

from typing import Any

from torch import Tensor, nn

from sortkd_det.functional import (
    ACTIVATIONS,
    Divergence,
    check_positive,
    decoupled_bernoulli,
    decoupled_kd,
)
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class DKDLoss(TemperedLoss):
    """α · TCKD + β · NCKD, mean over rows.

    In heads with a sigmoid for each class: α on the divergence of the label's class, β on
    those of the others; a row of background has others alone.

    Args:
        alpha: weight of the target-class half (TCKD); ≥ 0.
        beta: weight of the non-target-class half (NCKD); ≥ 0.
        temperature: T > 0, or as in :class:`TemperedLoss`.
        loss_weight: multiplies the result; ≥ 0.

    Source: Zhao et al., CVPR 2022, arXiv 2203.08679; α 1, β 0.25, T 1 are the
    authors' settings for Faster R-CNN on COCO.
    """

    activations = ACTIVATIONS

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.25,
        temperature: Any = 1.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.alpha = check_positive('alpha', alpha, allow_zero=True)
        self.beta = check_positive('beta', beta, allow_zero=True)

    def divergence(self, activation: str) -> Divergence | None:
        """DKD's, at temperatures that are numbers."""
        if type(self) is not DKDLoss or isinstance(self.temperature, nn.Module):
            return None
        if activation != 'softmax':
            return None
        return Divergence('dkd', self.temperatures(), self.alpha, self.beta, self.loss_weight)

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """α · TCKD + β · NCKD of each row, (N,)."""
        tckd, nckd = decoupled_kd(student, target, labels, temperature)
        return self.alpha * tckd + self.beta * nckd

    def tempered_bernoulli_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """α · own + β · others of each row, (N,)."""
        own, others = decoupled_bernoulli(student, target, labels, temperature)
        return self.alpha * own + self.beta * others

"""Normalised knowledge distillation."""

from typing import Any

from torch import Tensor

from sortkd_det.functional import check_positive, normalized_kd
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class NKDLoss(TemperedLoss):
    """-p_t[y] · log p_s[y] - γT² · Σ_{c≠y} q_t log q_s, mean over rows.

    q are the softmaxes at T over the classes other than the label y, p those at
    temperature 1 over all.

    Args:
        gamma: weight γ of the other classes; ≥ 0.
        temperature: T > 0, or as in :class:`TemperedLoss`.
        loss_weight: multiplies the result; ≥ 0.

    Source: Yang et al., ICCV 2023, arXiv 2303.13005; γ 1.5, T 1 are the
    authors' settings.
    """

    def __init__(
        self, gamma: float = 1.5, temperature: Any = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.gamma = check_positive('gamma', gamma, allow_zero=True)

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """Both parts of each row, summed, (N,)."""
        own, others = normalized_kd(student, target, labels, temperature)
        return own + self.gamma * others

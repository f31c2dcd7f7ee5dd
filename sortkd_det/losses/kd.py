"""Knowledge distillation by softened softmaxes."""

from torch import Tensor

from sortkd_det.functional import check_positive, kl_divergence
from sortkd_det.registry import MODELS

from .base import LogitLoss


@MODELS.register_module()
class KDLoss(LogitLoss):
    """T² · KL(softmax(target / T) ‖ softmax(student / T)), mean over rows.

    Args:
        temperature: T > 0.
        loss_weight: multiplies the result; ≥ 0.

    Source: Hinton et al., arXiv 1503.02531.
    """

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.temperature = check_positive('temperature', temperature)

    def row_losses(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """T² · KL of each row, (N,)."""
        return kl_divergence(student, target, self.temperature)

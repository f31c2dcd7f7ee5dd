"""Knowledge distillation by softened softmaxes."""

from torch import Tensor

from sortkd_det.functional import kl_divergence
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class KDLoss(TemperedLoss):
    """T² · KL(softmax(target / T) ‖ softmax(student / T)), mean over rows.

    Arguments as in :class:`TemperedLoss`.

    Source: Hinton et al., arXiv 1503.02531.
    """

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """T² · KL of each row, (N,)."""
        return kl_divergence(student, target, temperature)

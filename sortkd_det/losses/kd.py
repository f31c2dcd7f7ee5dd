"""Knowledge distillation by softened softmaxes."""

from torch import Tensor, nn

from sortkd_det.functional import Divergence, kl_divergence
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class KDLoss(TemperedLoss):
    """T² · KL(softmax(target / T) ‖ softmax(student / T)), mean over rows.

    Arguments as in :class:`TemperedLoss`.

    Source: Hinton et al., arXiv 1503.02531.
    """

    def divergence(self) -> Divergence | None:
        """KD's, at temperatures that are numbers."""
        if type(self) is not KDLoss or isinstance(self.temperature, nn.Module):
            return None
        return Divergence('kd', self.temperatures(), loss_weight=self.loss_weight)

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """T² · KL of each row, (N,)."""
        return kl_divergence(student, target, temperature)

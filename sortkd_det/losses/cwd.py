"""Channel-wise distillation of features (CWD)."""

from torch import Tensor

from sortkd_det.functional import check_positive, kl_divergence
from sortkd_det.registry import MODELS

from .feature_loss import FeatureLoss


@MODELS.register_module()
class CWDLoss(FeatureLoss):
    """The mean over images and channels of τ² · KL between softmaxes over the H · W places.

    Args:
        temperature: τ > 0.
        loss_weight: as in :class:`FeatureLoss`.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021,
    arXiv 2011.13256).
    """

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.temperature = check_positive('temperature', temperature)

    def map_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """As the class says, a scalar tensor."""
        places = (features.flatten(2).flatten(0, 1) for features in (student, target))
        return kl_divergence(*places, self.temperature).mean()

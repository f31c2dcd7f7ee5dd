"""Hints of features (FitNets)."""

import torch.nn.functional as F
from torch import Tensor

from sortkd_det.registry import MODELS

from .feature_loss import FeatureLoss


@MODELS.register_module()
class FitNetLoss(FeatureLoss):
    """The mean squared difference of the features.

    Arguments as in :class:`FeatureLoss`.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets" (ICLR 2015, arXiv 1412.6550).
    """

    def map_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """As the class says, a scalar tensor."""
        return F.mse_loss(student, target)

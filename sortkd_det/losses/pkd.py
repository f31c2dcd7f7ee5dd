"""Pearson distillation of features (PKD)."""

import torch.nn.functional as F
from torch import Tensor

from sortkd_det.registry import MODELS

from .feature_loss import FeatureLoss

_EPS = 1e-6  # the authors' guard against channels without variance


@MODELS.register_module()
class PKDLoss(FeatureLoss):
    """Half the mean squared difference of maps with mean 0 and deviation 1 in each channel.

    Mean and deviation are over batch and places. With r, Pearson's correlation of a channel of
    the student with that of the target, it is the mean of 1 - r over the channels. Arguments
    as in :class:`FeatureLoss`.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via
    Pearson Correlation Coefficient" (NeurIPS 2022, arXiv 2207.02039).
    """

    def map_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """As the class says, a scalar tensor."""
        return F.mse_loss(_standardize(student), _standardize(target)) / 2


def _standardize(features: Tensor) -> Tensor:
    centred = features - features.mean((0, 2, 3), keepdim=True)
    # Of one value alone torch's default deviation is NaN.
    return centred / (features.std((0, 2, 3), correction=0, keepdim=True) + _EPS)

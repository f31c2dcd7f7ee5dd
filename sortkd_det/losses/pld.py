"""Distillation of the teacher's order of classes under the Plackett-Luce model."""

from torch import Tensor

from sortkd_det.functional import plackett_luce
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class PLDLoss(TemperedLoss):
    """Weighted Plackett-Luce likelihood of "label first, then the teacher's order".

    Each step is weighted by the teacher's probability at T of the class that it
    chooses; the student is at temperature 1. Mean over rows. The loss holds a
    cross-entropy with the labels, so the paper sets the student's own
    classification loss to 0. Arguments as in :class:`TemperedLoss`.

    Source: Bassam et al., arXiv 2506.12542.
    """

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """The weighted negative log-likelihood of each row, (N,)."""
        return plackett_luce(student, target, labels, temperature)

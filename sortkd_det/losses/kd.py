"""Knowledge distillation by softened softmaxes."""

from numbers import Real

from torch import Tensor

from sortkd_det.functional import (
    check_pair,
    kl_divergence,
    reduce_rows,
    sort_logits,
    sorted_kl_divergence,
)
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

    def sorted_forward(
        self,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        ignore_index: int | None,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
    ) -> Tensor:
        """The loss towards the sorted target, which takes one kernel on CUDA.

        Arguments and result are those of :meth:`forward`; rows of the target whose
        label is ``ignore_index`` are not sorted.
        """
        if not target.is_cuda or not isinstance(self.temperature, Real):
            target = sort_logits(target, labels, ignore_index)
            return self(student, target, labels, weight, avg_factor)
        check_pair(student, target)
        losses = sorted_kl_divergence(student, target, labels, self.temperature, ignore_index)
        return self.loss_weight * reduce_rows(losses, weight, avg_factor)

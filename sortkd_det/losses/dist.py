"""Distillation by correlations between classes and within them."""

from typing import Any

from torch import Tensor

from sortkd_det.functional import check_positive, pearson_correlation, reduce_rows
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class DISTLoss(TemperedLoss):
    """T² · [β · mean_rows (1 - Pearson) + γ · mean_classes (1 - Pearson of the columns)].

    Pearson's correlations are those of the softmaxes at T. Between rows,
    ``weight`` and ``avg_factor`` mean what they mean in every loss; within a
    class the correlation is a weighted one, so that a row of weight 0 plays no
    part, and the average is over the C classes.

    Args:
        beta: weight of the relation between the classes of a row; ≥ 0.
        gamma: weight of the relation between the rows within a class; ≥ 0.
        temperature: T > 0, or as in :class:`TemperedLoss`.
        loss_weight: multiplies the result; ≥ 0.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher"
    (NeurIPS 2022, arXiv 2205.10536); β 1, γ 1, T 1 are the paper's for ImageNet.
    """

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: Any = 1.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.beta = check_positive('beta', beta, allow_zero=True)
        self.gamma = check_positive('gamma', gamma, allow_zero=True)

    def batch_loss(
        self,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
    ) -> Tensor:
        """Both relations, summed over the temperatures."""
        loss = 0.0
        for temperature in self.temperatures():
            p_student, p_target = ((x / temperature).softmax(1) for x in (student, target))
            between = reduce_rows(1 - pearson_correlation(p_student, p_target), weight, avg_factor)
            within = (1 - pearson_correlation(p_student.T, p_target.T, weight)).mean()
            if weight is not None:
                within = within * (weight.sum() > 0)
            loss = loss + temperature**2 * (self.beta * between + self.gamma * within)
        return loss

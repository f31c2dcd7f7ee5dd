"""The alignments of multi-level logit distillation (MLKD) beyond the single row."""

from typing import Any

from torch import Tensor

from sortkd_det.functional import check_quantile, gram_distance, nan_quantile, reduce_rows
from sortkd_det.registry import MODELS

from .base import TemperedLoss


@MODELS.register_module()
class BatchGramLoss(TemperedLoss):
    """Σ (AAᵀ - BBᵀ)² / N for the softmaxes A, B (N, C): relations between rows.

    A row's loss is the sum over its relations with all rows of the batch; its
    weight multiplies that sum. Arguments as in :class:`TemperedLoss`.

    Source: Jin et al., "Multi-Level Logit Distillation" (CVPR 2023), batch level.
    """

    def tempered_row_losses(
        self, student: Tensor, target: Tensor, labels: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """Σ_j (AAᵀ - BBᵀ)²_ij of each row i, (N,)."""
        student, target = ((x / temperature).softmax(1) for x in (student, target))
        return gram_distance(student, target)


@MODELS.register_module()
class ClassGramLoss(TemperedLoss):
    """Σ (AᵀA - BᵀB)² / C for the softmaxes A, B (N, C): relations between classes.

    A row of weight w enters both products w times, w ≥ 0. The average is over
    the C classes: ``avg_factor`` plays no part.

    Args:
        temperature: as in :class:`TemperedLoss`.
        confidence_quantile: only classes c count for which the teacher's
            confidence Σ_n softmax(target)_nc is at most this quantile of all
            classes' (0.5 in MLKD's weak view); they count with all their
            relations. None: all classes do.
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        TypeError, ValueError: a quantile that is not a number in [0, 1].

    Source: Jin et al., "Multi-Level Logit Distillation" (CVPR 2023), class level.
    """

    def __init__(
        self,
        temperature: Any = 1.0,
        confidence_quantile: float | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.confidence_quantile = check_quantile('confidence_quantile', confidence_quantile)

    def batch_loss(
        self,
        student: Tensor,
        target: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
    ) -> Tensor:
        """The mean over the classes that count, C in the denominator."""
        weight = student.new_ones(len(student)) if weight is None else weight
        scale = weight.sqrt()[:, None]
        losses = 0.0
        for temperature in self.temperatures():
            p_student, p_target = (scale * (x / temperature).softmax(1) for x in (student, target))
            losses = losses + gram_distance(p_student.T, p_target.T)
        if self.confidence_quantile is None:
            return reduce_rows(losses)
        confidence = weight @ target.softmax(1)
        return reduce_rows(losses, confidence <= nan_quantile(confidence, self.confidence_quantile))

"""Which rows of a batch count in a term, and what their sum is divided by."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from sortkd_det.functional import check_choice, check_quantile, nan_quantile

from .logit_batch import LogitBatch

ROWS = ('all', 'foreground')


class RowChoice:
    """The rows that count in a term's loss, and those that its processors rewrite.

    Arguments are those of :class:`Term` of these names.

    Raises:
        TypeError, ValueError: an argument out of its range.
    """

    def __init__(
        self,
        loss_rows: str = 'all',
        sort_rows: str = 'all',
        confidence_quantile: float | None = None,
    ) -> None:
        self.loss_rows = check_choice('loss_rows', loss_rows, ROWS)
        self.sort_rows = check_choice('sort_rows', sort_rows, ROWS)
        self.confidence_quantile = check_quantile('confidence_quantile', confidence_quantile)

    def unsorted_label(self, batch: LogitBatch) -> int | None:
        """The label whose rows processors leave as they are, or None."""
        if self.sort_rows == 'foreground':
            return batch.background
        return batch.label_without_column

    def weigh(self, batch: LogitBatch) -> tuple[Tensor, Tensor | float]:
        """Weights of the rows, (N,), and what their sum is divided by.

        A number of rows is averaged over processes: with that average, equal parts
        of a batch on several processes give the gradient that one process gives for the whole.
        """
        weight = batch.weight
        if self.loss_rows == 'foreground':
            weight = weight * batch.is_positive
        divisor = self._divisor(batch, weight > 0)
        if self.confidence_quantile is not None and len(weight):
            confidence = batch.teacher_confidence()
            among = confidence.masked_fill(weight <= 0, torch.nan)
            weight = weight * (confidence <= nan_quantile(among, self.confidence_quantile))
        return weight, divisor

    def _divisor(self, batch: LogitBatch, counts: Tensor) -> Tensor | float:
        if not isinstance(batch.divisor, str):
            return batch.divisor
        if batch.divisor == 'positives':
            counts = counts & batch.is_positive
        counted = counts.sum().to(torch.float32)
        all_reduce(counted, op='sum')
        return counted.clamp(min=1.0) / get_world_size()

"""Sorting as a processor."""

from torch import Tensor

from sortkd_det.functional import sort_logits
from sortkd_det.registry import LOGIT_PROCESSORS


@LOGIT_PROCESSORS.register_module()
class SortLogits:
    """Put each row's label on top, and the classes above it one value lower (SortKD)."""

    def __call__(self, logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
        """Sort the rows of ``logits`` (N, C) by ``labels`` (N,).

        Rows labelled ``ignore_index`` come back as they are. See
        :func:`~sortkd_det.functional.sort_logits`.
        """
        return sort_logits(logits, labels, ignore_index)

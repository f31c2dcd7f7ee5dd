"""Standardising as a processor."""

from torch import Tensor

from sortkd_det.functional import standardize_logits
from sortkd_det.registry import LOGIT_PROCESSORS


@LOGIT_PROCESSORS.register_module()
class StandardizeLogits:
    """Scale rows by :func:`~sortkd_det.functional.standardize_logits`."""

    def __call__(
        self, logits: Tensor, labels: Tensor | None = None, ignore_index: int | None = None
    ) -> Tensor:
        """Standardise every row of ``logits`` (N, C); labels play no part."""
        return standardize_logits(logits)

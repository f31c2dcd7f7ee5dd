"""Standardising as a processor."""

from torch import Tensor

from sortkd_det.functional import standardize_logits
from sortkd_det.registry import LOGIT_PROCESSORS


@LOGIT_PROCESSORS.register_module()
class StandardizeLogits:
    """Shift and scale each row to mean 0 and standard deviation 1 (LSKD)."""

    activations = ('softmax',)  # to which a shift of a row is nothing

    def __call__(
        self, logits: Tensor, labels: Tensor | None = None, ignore_index: int | None = None
    ) -> Tensor:
        """Standardise every row of ``logits`` (N, C); labels play no part."""
        return standardize_logits(logits)

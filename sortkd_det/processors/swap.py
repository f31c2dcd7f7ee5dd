"""Swapping as a processor."""

from torch import Tensor

from sortkd_det.functional import ACTIVATIONS, swap_logits
from sortkd_det.registry import LOGIT_PROCESSORS


@LOGIT_PROCESSORS.register_module()
class SwapLogits:
    """Exchange each row's largest logit and that of its label (SLD)."""

    activations = ACTIVATIONS

    def __call__(self, logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
        """Swap in the rows of ``logits`` (N, C) by ``labels`` (N,).

        Rows labelled ``ignore_index`` come back as they are. See
        :func:`~sortkd_det.functional.swap_logits`. A single class has nothing to change with.
        """
        if logits.shape[1] == 1:
            return logits.clone()
        return swap_logits(logits, labels, ignore_index)

"""What a processor does to the logits of one batch."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def operation_of(
    processor: Any, ignore_index: int | None, background: int | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """What ``processor`` does to logits (N, C) with labels (N,), as a function of these two.

    A processor may say it itself, by a method ``operation(ignore_index, background)``: so
    ``SortLogits`` tells its sort, which losses can do in their own kernel. A subclass that
    writes ``__call__`` anew without it is called.

    Args:
        processor: anything that is called with logits, labels and ``ignore_index``.
        ignore_index: the label whose rows stay as they are, or None.
        background: the column of background, or None where there is none.
    """
    for kind in type(processor).__mro__:
        if 'operation' in vars(kind):
            return processor.operation(ignore_index, background)
        if '__call__' in vars(kind):
            break
    return lambda logits, labels: processor(logits, labels, ignore_index)

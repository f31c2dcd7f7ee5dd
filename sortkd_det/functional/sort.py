"""The sort of SortKD (arXiv 2508.16544): the label's logit goes on top."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import check_labels, check_logits


def sort_logits(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Sort each row's values so that its label gets the largest one.

    The classes are ordered by descending logit, but with the label first, and
    the row's values, sorted descending, are handed out in that order. The label
    gets the maximum, each class that stood above it moves down by one value,
    all others keep theirs; a row whose label is at the maximum is unchanged.
    Between equal logits the lower class index counts as the higher. The result
    is a permutation of each row, exact in every dtype.

    Args:
        logits: (N, C), any floating dtype, C ≥ 2. Not changed. A row that holds
            a NaN comes back as it is.
        labels: (N,), int64, each in [0, C) or ``ignore_index``.
        ignore_index: rows with this label come back as they are.

    Returns:
        (N, C) tensor of the dtype and on the device of ``logits``; gradients
        flow back along the permutation.

    Raises:
        TypeError: logits not floating, labels not int64.
        ValueError: shapes that do not fit, a label out of range.

    Source: "Parameter-Free Logit Distillation via Sorting Mechanism" (IEEE SPL
    2025), Algorithm 1.
    """
    if _suits_kernel(logits, labels) and (kernel := _cpu_kernel()) is not None:
        check_logits(logits)
        result = torch.empty_like(logits, memory_format=torch.contiguous_format)
        bad_row = kernel(
            logits.detach().contiguous().numpy(),
            labels.numpy(),
            ignore_index is not None,
            0 if ignore_index is None else ignore_index,
            result.numpy(),
        )
        if bad_row < 0:
            return result
    check_labels(logits, labels, ignore_index)  # names the row that the kernel met, too
    return _sort_with_torch(logits, labels, ignore_index)


@functools.cache
def _cpu_kernel() -> Callable | None:
    """The compiled kernel, or None where numba is not installed."""
    try:
        from .kernels.sort_cpu import sort_rows
    except ImportError:
        return None
    return sort_rows


def _suits_kernel(logits: Tensor, labels: Tensor) -> bool:
    """Whether the arguments are what the kernel takes; it does no autograd."""
    return (
        isinstance(logits, Tensor)
        and isinstance(labels, Tensor)
        and logits.dtype in (torch.float32, torch.float64)
        and labels.dtype == torch.int64
        and logits.dim() == 2
        and labels.shape == logits.shape[:1]
        and logits.is_cpu
        and labels.is_cpu
        and not (logits.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
    )


def _sort_with_torch(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """:func:`sort_logits` for checked arguments of any device and dtype, differentiable."""
    if logits.numel() == 0:
        return logits.clone()
    label = labels[:, None]
    if ignore_index is not None:
        ignored = label == ignore_index
        label = label.masked_fill(ignored, 0)
    with torch.no_grad():
        wrong = logits.amax(1, keepdim=True) > logits.gather(1, label)
        if ignore_index is not None:
            wrong &= ~ignored
        rows = wrong.view(-1).nonzero().view(-1)
    if len(rows) == 0:
        return logits.clone()
    wrong_logits = logits.index_select(0, rows)
    return logits.index_copy(0, rows, _sort_wrong(wrong_logits, label.index_select(0, rows)))


def _sort_wrong(logits: Tensor, label: Tensor) -> Tensor:
    """Sort rows (R, C), in each of which some class stands above ``label`` (R, 1)."""
    with torch.no_grad():
        label_logit = logits.gather(1, label)
        deepest = int((logits > label_logit).sum(1).max())  # classes above the label, at most
        values, classes = logits.topk(deepest + 1, dim=1)
        if (values[:, 1:] == values[:, :-1]).any():  # topk orders equal logits at will
            values, classes = logits.sort(dim=1, descending=True, stable=True)
            values, classes = values[:, : deepest + 1], classes[:, : deepest + 1]
        above = values > label_logit
        # Each class above the label takes the value of the next one, the last of
        # them the label's; where fewer stand above it, the rest keep their own.
        movers = classes[:, :-1]
        follower = torch.where(above[:, 1:], classes[:, 1:], label)
        source = torch.where(above[:, :-1], follower, movers)
    lowered = logits.scatter(1, movers, logits.gather(1, source))
    return lowered.scatter(1, label, logits.gather(1, classes[:, :1]))

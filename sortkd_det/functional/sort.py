"""The sort of SortKD (arXiv 2508.16544): the label's logit goes on top."""

from typing import NamedTuple

import torch
from torch import Tensor

from .checks import check_labels
from .kernels import load_kernels
from .threads import split_rows

# Numbers in a matrix that make one more thread worth its start.
_WORTH_A_THREAD = 2**18
_KERNEL_DTYPES = (torch.float32, torch.float64)
_CUDA_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


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
    if _suits_cpu_kernel(logits, labels) and (kernels := load_kernels('sort_cpu')) is not None:
        source = logits.detach().contiguous()
        result = torch.empty_like(source)
        matrices = (source, labels.contiguous(), result)
        arguments = (ignore_index is not None, 0 if ignore_index is None else ignore_index)
        parts = split_rows(kernels.sort_rows, matrices, arguments, _WORTH_A_THREAD)
        if all(bad_row < 0 for _, bad_row in parts):
            return result
    check_labels(logits, labels, ignore_index)  # names the row that the kernel met, too
    if logits.is_cuda and logits.dtype in _CUDA_DTYPES and logits.numel() > 0:
        return _sort_on_cuda(logits, labels, ignore_index)
    if logits.is_cuda or torch.compiler.is_compiling():
        return _sort_in_full(logits, labels, ignore_index)
    return _sort_with_torch(logits, labels, ignore_index)


def sort_classes(
    logits: Tensor, labels: Tensor, background: int, ignore_index: int | None = None
) -> Tensor:
    """:func:`sort_logits` of all columns but one, which keeps its value.

    Args:
        logits: (N, C), any floating dtype, C ≥ 2. Not changed.
        labels: (N,), int64, each in [0, C) or ``ignore_index``. Rows labelled
            ``background`` have no class to put on top and come back as they are, as do
            rows in which a class's logit is NaN.
        background: the column that keeps its value, in [0, C).
        ignore_index: rows with this label come back as they are.

    Returns:
        As :func:`sort_logits`.

    Raises:
        TypeError, ValueError: as :func:`sort_logits`; ``background`` is no column.
    """
    check_labels(logits, labels, ignore_index)
    num_columns = logits.shape[1]
    if background not in range(num_columns):
        raise ValueError(f'background must be a column, 0…{num_columns - 1}, got {background!r}')
    if num_columns == 2:
        return logits.clone()
    untouched = labels == background
    if ignore_index is not None:
        untouched |= labels == ignore_index
    before, kept, after = logits.split([background, 1, num_columns - background - 1], dim=1)
    labels = (labels - (labels > background).to(labels.dtype)).masked_fill(untouched, -1)
    classes = sort_logits(torch.cat([before, after], dim=1), labels, -1)
    before, after = classes.split([background, num_columns - background - 1], dim=1)
    return torch.cat([before, kept, after], dim=1)


class Sort(NamedTuple):
    """A sort that is told and not yet done: a kernel may do it beside other things.

    Attributes:
        ignore_index: rows with this label come back as they are; None: there are none.
        background: the column that keeps its value (:func:`sort_classes`); None: all
            columns are sorted (:func:`sort_logits`).
    """

    ignore_index: int | None = None
    background: int | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sorted rows of ``logits`` (N, C); those of a single class, a head of one sigmoid,
        have no order and stay as they are.
        """
        if logits.shape[1] == 1:
            return logits.clone()
        if self.background is None:
            return sort_logits(logits, labels, self.ignore_index)
        return sort_classes(logits, labels, self.background, self.ignore_index)


def _suits_cpu_kernel(logits: Tensor, labels: Tensor) -> bool:
    """Whether the arguments are what the kernel takes; it does no autograd."""
    return (
        isinstance(logits, Tensor)
        and isinstance(labels, Tensor)
        and logits.is_cpu
        and labels.is_cpu
        and logits.dtype in _KERNEL_DTYPES
        and labels.dtype is torch.int64
        and logits.dim() == 2
        and labels.dim() == 1
        and logits.size(0) == labels.size(0)
        and logits.size(1) > 1
        and not (logits.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
    )


def _sort_on_cuda(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """:func:`sort_logits` by the Triton kernel, where there is one."""
    rows = _rows_op if torch.compiler.is_compiling() else _sort_rows
    if logits.requires_grad and torch.is_grad_enabled():
        return logits.gather(1, rows(logits.detach(), labels, ignore_index, True))
    return rows(logits, labels, ignore_index, False)


def _sort_rows(logits: Tensor, labels: Tensor, ignore_index: int | None, sources: bool) -> Tensor:
    """The sorted rows, or the class whose value each class is given, (N, C) int64."""
    if (kernels := load_kernels('sort_cuda')) is not None:
        return kernels.sort_rows(logits, labels, ignore_index, sources)
    if not sources:
        return _sort_in_full(logits, labels, ignore_index)
    found, wrong = _sources_in_full(logits, labels, ignore_index)
    return torch.where(wrong, found, torch.arange(logits.shape[1], device=logits.device))


# For torch.compile, which need not look into it.
@torch.library.custom_op('sortkd_det::sort_rows', mutates_args=())
def _rows_op(logits: Tensor, labels: Tensor, ignore_index: int | None, sources: bool) -> Tensor:
    return _sort_rows(logits, labels, ignore_index, sources)


@_rows_op.register_fake
def _(logits: Tensor, labels: Tensor, ignore_index: int | None, sources: bool) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.int64 if sources else logits.dtype)


def _sort_in_full(logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """:func:`sort_logits` without shapes that depend on the data: a full sort of every row."""
    if logits.numel() == 0:
        return logits.clone()
    sources, wrong = _sources_in_full(logits, labels, ignore_index)
    return torch.where(wrong, logits.gather(1, sources), logits)


def _sources_in_full(
    logits: Tensor, labels: Tensor, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """By a full sort, the class whose value each class is given, and which rows change, (N, 1)."""
    label = labels[:, None]
    with torch.no_grad():
        descending = logits.argsort(dim=1, descending=True, stable=True)
        if ignore_index is not None:
            label = torch.where(label == ignore_index, descending[:, :1], label)
        wrong = logits.amax(1, keepdim=True) > logits.gather(1, label)  # False if there is a NaN
        # The label first, then the others in their order: those above it move down by one.
        is_label = descending == label
        after = is_label.cumsum(1) - is_label.to(torch.int64) > 0
        receiver = torch.where(after, descending, descending.roll(1, dims=1))
        receiver = torch.cat([label, receiver[:, 1:]], dim=1)
        return torch.empty_like(descending).scatter(1, receiver, descending), wrong


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

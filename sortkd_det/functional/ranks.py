"""Soft ranks: ranks that one can differentiate, exactly."""

from typing import Any

import torch
from torch import Tensor

from .checks import check_logits, check_positive
from .kernels import WIDEST_ON_CUDA, load_kernels
from .threads import split_rows

# Numbers in a matrix that make one more thread worth its start.
_WORTH_A_THREAD = 2**14


def soft_rank(values: Tensor, strength: float = 1.0) -> Tensor:
    """Soft rank of each class in its row; the largest value has the smallest rank.

    The Euclidean projection of -values / strength onto the permutahedron of
    (C, C - 1, …, 1). As ``strength`` goes to 0 the ranks 1…C result, as it grows
    all come near (C + 1) / 2. Value and gradient are exact; sums are taken in
    float64.

    Args:
        values: (N, C), any floating dtype, C ≥ 2, finite. Not changed.
        strength: ε > 0, in units of ``values``: values less than ε apart are
            pooled with each other.

    Returns:
        (N, C) tensor of the dtype of ``values``; each row sums to C (C + 1) / 2.

    Raises:
        TypeError: values not floating, strength no number.
        ValueError: not of shape (N, C) with C ≥ 2, strength not > 0.

    Source: Blondel et al., "Fast Differentiable Sorting and Ranking" (ICML
    2020), equation 6 with quadratic regularisation.
    """
    check_logits(values, 'values')
    check_positive('strength', strength)
    if values.is_cpu and not torch.compiler.is_compiling() and load_kernels('rank_cpu') is not None:
        wide = values if values.dtype in (torch.float32, torch.float64) else values.float()
        return _SoftRank.apply(wide, float(strength)).to(values.dtype)
    if _suits_cuda_kernel(values) and (kernels := load_kernels('rank_cuda')) is not None:
        return kernels.soft_rank(values.float(), float(strength)).to(values.dtype)
    return _rank_with_torch(values, strength)


def _suits_cuda_kernel(values: Tensor) -> bool:
    """Whether the kernel takes ``values``: float32 at most, rows that registers hold."""
    is_plain = values.is_cuda and not torch.compiler.is_compiling()
    return is_plain and values.dtype is not torch.float64 and values.shape[1] <= WIDEST_ON_CUDA


class _SoftRank(torch.autograd.Function):
    """The compiled projection; its Jacobian averages within blocks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        values = values.detach().contiguous()
        result = torch.empty_like(values)
        blocks = torch.empty(values.shape, dtype=torch.int32)
        kernel = load_kernels('rank_cpu').project_rows
        split_rows(kernel, (values, result, blocks), (strength,), _WORTH_A_THREAD)
        ctx.save_for_backward(blocks)
        ctx.strength = strength
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        result = torch.empty_like(gradient)
        kernel = load_kernels('rank_cpu').project_gradients
        (blocks,) = ctx.saved_tensors
        split_rows(kernel, (gradient, blocks, result), (ctx.strength,), _WORTH_A_THREAD)
        return result, None


def _rank_with_torch(values: Tensor, strength: float) -> Tensor:
    """:func:`soft_rank` on any device, without a kernel; differentiable any number of times."""
    scaled = values.to(torch.float64) * (-1 / strength)
    scaled = scaled + (scaled - scaled).sum(1, keepdim=True)  # NaN where the row is not finite
    num_classes = values.shape[1]
    with torch.no_grad():
        descending, order = scaled.sort(dim=1, descending=True, stable=True)
        weights = torch.arange(num_classes, 0, -1, dtype=scaled.dtype, device=scaled.device)
        block = torch.empty_like(order).scatter(1, order, _pool(descending - weights))
        weights = torch.empty_like(scaled).scatter(1, order, weights.expand_as(scaled))
    return (scaled - _block_means(scaled - weights, block)).to(values.dtype)


def _pool(y: Tensor) -> Tensor:
    """Pool adjacent violators in all rows at once.

    Neighbouring blocks whose means increase end in one block, whatever else
    happens: so all of them are joined, again and again, until none is left.

    Args:
        y: (N, C), to be approached by rows that never increase.

    Returns:
        (N, C) int64: the block of each position, ascending from 0.
    """
    block = torch.arange(y.shape[1], device=y.device).expand_as(y)
    while True:
        means = _block_means(y, block)
        starts = (means[:, 1:] < means[:, :-1]).cumsum(1)
        joined = torch.cat([torch.zeros_like(starts[:, :1]), starts], dim=1)
        if torch.equal(joined, block):
            return block
        block = joined


def _block_means(values: Tensor, block: Tensor) -> Tensor:
    """The mean of its block at each position of ``values`` (N, C)."""
    zeros = torch.zeros_like(values)
    sums = zeros.scatter_add(1, block, values)
    counts = zeros.scatter_add(1, block, torch.ones_like(values))
    return (sums / counts.clamp(min=1)).gather(1, block)

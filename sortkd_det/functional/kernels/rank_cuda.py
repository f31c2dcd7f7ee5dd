"""Soft ranks on CUDA: one Triton kernel forward, one backward, a row a program.

A row is sorted in registers; then neighbouring blocks whose means violate the order are joined, all
at once, until none is left. Sums are float64.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch_cuda import launch, power_of_two
from .network_cuda import rank_at, sort_descending
from .sort_cuda import keys_of


@triton.jit
def _add_within_block(start_a, sum_a, count_a, start_b, sum_b, count_b):
    """Running sums that start afresh where a block starts."""
    keeps = start_b == 0
    return (
        start_a | start_b,
        tl.where(keeps, sum_a + sum_b, sum_b),
        tl.where(keeps, count_a + count_b, count_b),
    )


@triton.jit
def _take_last(end_a, value_a, end_b, value_b):
    """From behind: the value at the end of the block that a position lies in."""
    return end_a | end_b, tl.where(end_b != 0, value_b, value_a)


@triton.jit
def _block_means(numbers, starts, ends):
    """The mean of its block at each position, along axis 1; ``starts`` and ``ends`` are int32."""
    _, sums, counts = tl.associative_scan((starts, numbers, starts | 1), 1, _add_within_block)
    means = sums / counts.to(numbers.dtype)
    _, means = tl.associative_scan((ends, means), 1, _take_last, reverse=True)
    return means


@triton.jit(do_not_specialize=['num_rows'])
def _rank_kernel(
    values, result, order, starts_out, scratch, num_rows, scale,
    NUM_CLASSES: tl.constexpr, WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    begin = tl.program_id(0).to(tl.int64) * NUM_CLASSES
    columns = tl.arange(0, WIDTH)[None, :]
    inside = columns < NUM_CLASSES
    own = tl.load(values + begin + columns, mask=inside, other=0)
    is_finite = tl.max(tl.max((inside & (own - own != 0)).to(tl.int32), axis=1), axis=0) == 0
    packed = (keys_of(own).to(tl.int64) << 32) + (2**31 - 1 - columns)
    packed = sort_descending(tl.where(inside, packed, -(2**63)), VECTOR, THREADS)
    rank = rank_at(columns, WIDTH, VECTOR, THREADS)
    # From here on by position in the ascending row, that is in descending order of -value / ε.
    column = 2**31 - 1 - (packed & (2**31 - 1)).to(tl.int32)
    tl.store(order + begin + NUM_CLASSES - 1 - rank, column, mask=rank < NUM_CLASSES)
    tl.debug_barrier()
    column = tl.load(order + begin + columns, mask=inside, other=0)
    heights = tl.load(values + begin + column, mask=inside, other=0).to(tl.float64) * -scale
    numbers = tl.where(inside, heights - (NUM_CLASSES - columns), 0.0)
    starts = tl.zeros((1, WIDTH), tl.int32) + 1
    means = numbers
    changed = 1
    while changed > 0:
        # A block ends where the next one starts; neighbours are read through memory.
        tl.store(scratch + begin + columns, starts.to(tl.float64), mask=inside)
        tl.debug_barrier()
        is_next = columns + 1 < NUM_CLASSES
        ends = tl.load(scratch + begin + columns + 1, mask=is_next, other=1.0).to(tl.int32)
        means = _block_means(numbers, starts, ends)
        tl.debug_barrier()
        tl.store(scratch + begin + columns, means, mask=inside)
        tl.debug_barrier()
        has_before = inside & (columns > 0)
        before = tl.load(scratch + begin + columns - 1, mask=has_before, other=0.0)
        kept = tl.where((means < before) | (has_before == 0), starts, 0)
        changed = tl.max(tl.max((kept != starts).to(tl.int32), axis=1), axis=0)
        starts = kept
        tl.debug_barrier()
    ranks = tl.where(is_finite, heights - means, float('nan'))
    tl.store(result + begin + column, ranks.to(result.dtype.element_ty), mask=inside)
    tl.store(starts_out + begin + columns, starts.to(tl.int8), mask=inside)


@triton.jit
def _gradient_kernel(
    upstream, result, order, starts_in, scale, NUM_CLASSES: tl.constexpr, WIDTH: tl.constexpr
):
    begin = tl.program_id(0).to(tl.int64) * NUM_CLASSES
    columns = tl.arange(0, WIDTH)[None, :]
    inside = columns < NUM_CLASSES
    column = tl.load(order + begin + columns, mask=inside, other=0)
    starts = tl.load(starts_in + begin + columns, mask=inside, other=1).to(tl.int32)
    is_next = columns + 1 < NUM_CLASSES
    ends = tl.load(starts_in + begin + columns + 1, mask=is_next, other=1).to(tl.int32)
    gradient = tl.load(upstream + begin + column, mask=inside, other=0).to(tl.float64)
    found = (_block_means(gradient, starts, ends) - gradient) * scale
    tl.store(result + begin + column, found.to(result.dtype.element_ty), mask=inside)


class _SoftRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        values = values.detach().contiguous()
        num_rows, num_classes = values.shape
        result = torch.empty_like(values)
        order = torch.empty(values.shape, dtype=torch.int32, device=values.device)
        starts = torch.empty(values.shape, dtype=torch.int8, device=values.device)
        scratch = torch.empty(values.shape, dtype=torch.float64, device=values.device)
        vector = 2 if num_classes % 2 == 0 else 1
        width = power_of_two(num_classes)
        warps = _warps_of(width)
        settings = {
            'NUM_CLASSES': num_classes,
            'WIDTH': width,
            'VECTOR': vector,
            'THREADS': 32 * warps,
            'num_warps': warps,
        }
        arguments = (values, result, order, starts, scratch, num_rows, 1.0 / strength)
        if num_rows:
            launch(_rank_kernel, num_rows, arguments, settings)
        ctx.save_for_backward(order, starts)
        ctx.strength = strength
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        order, starts = ctx.saved_tensors
        num_rows, num_classes = order.shape
        result = torch.empty_like(upstream, memory_format=torch.contiguous_format)
        width = power_of_two(num_classes)
        settings = {'NUM_CLASSES': num_classes, 'WIDTH': width, 'num_warps': _warps_of(width)}
        arguments = (upstream.contiguous(), result, order, starts, 1.0 / ctx.strength)
        if num_rows:
            launch(_gradient_kernel, num_rows, arguments, settings)
        return result, None


def soft_rank(values: Tensor, strength: float) -> Tensor:
    """:func:`~sortkd_det.functional.soft_rank` of float32 values (N, C) on CUDA, C ≤ 4096."""
    return _SoftRank.apply(values, strength)


def _warps_of(width: int) -> int:
    """Sixteen numbers a thread at most, and eight warps."""
    return min(max(width // 512, 1), 8)


def check() -> None:
    """Raise unless the kernels give on the device what they must give."""
    values = torch.tensor([[0.0, 3.0, 1.0], [0.5, 0.25, 8.0]], device='cuda', requires_grad=True)
    ranks = soft_rank(values, 1.0)
    expected = torch.tensor([[3.0, 1.0, 2.0], [2.375, 2.625, 1.0]], device='cuda')
    torch.testing.assert_close(ranks, expected)
    upstream = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], device='cuda')
    (gradient,) = torch.autograd.grad(ranks, values, upstream)
    expected = torch.tensor([[1.0, 0.0, -1.0], [0.5, -0.5, 0.0]], device='cuda')
    torch.testing.assert_close(gradient, expected)

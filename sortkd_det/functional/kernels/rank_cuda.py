"""Pooling adjacent violators on CUDA: one Triton program a row, the row in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor


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
def _pool_kernel(y, blocks, scratch, num_classes, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * num_classes
    columns = tl.arange(0, BLOCK)
    inside = columns < num_classes
    values = tl.load(y + row + columns, mask=inside, other=0.0)
    starts = tl.full((BLOCK,), 1, tl.int32)
    changed = 1
    while changed > 0:
        _, sums, counts = tl.associative_scan(
            (starts, values, tl.full((BLOCK,), 1, tl.int32)), 0, _add_within_block
        )
        # A block ends where the next one starts; neighbours are read through memory.
        tl.store(scratch + row + columns, starts.to(values.dtype), mask=inside)
        tl.debug_barrier()
        is_next = columns + 1 < num_classes
        ends = tl.load(scratch + row + columns + 1, mask=is_next, other=1.0).to(tl.int32)
        _, means = tl.associative_scan(
            (ends, sums / counts.to(values.dtype)), 0, _take_last, reverse=True
        )
        tl.debug_barrier()
        tl.store(scratch + row + columns, means, mask=inside)
        tl.debug_barrier()
        before = tl.load(scratch + row + columns - 1, mask=inside & (columns > 0), other=0.0)
        kept = tl.where((means < before) | (columns == 0) | (inside == 0), starts, 0)
        changed = tl.sum((kept != starts).to(tl.int32), axis=0)
        starts = kept
        tl.debug_barrier()
    numbers = tl.cumsum(tl.where(inside, starts, 0), axis=0) - 1
    tl.store(blocks + row + columns, numbers.to(tl.int64), mask=inside)


def pool(y: Tensor) -> Tensor:
    """The block of each position of ``y`` (N, C), (N, C) int64, ascending from 0."""
    y = y.contiguous()
    num_rows, num_classes = y.shape
    blocks = torch.empty(y.shape, dtype=torch.int64, device=y.device)
    block = triton.next_power_of_2(num_classes)
    if num_rows:
        _pool_kernel[(num_rows,)](
            y, blocks, torch.empty_like(y), num_classes, BLOCK=block,
            num_warps=min(max(block // 256, 1), 8),
        )  # fmt: skip
    return blocks


def check() -> None:
    """Raise unless the kernel gives on the device what it must give."""
    y = torch.tensor([[3.0, 1.0, 2.0, 0.0], [1.0, 2.0, 3.0, 4.0]], device='cuda').double()
    expected = torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]], device='cuda')
    if not torch.equal(pool(y), expected):
        raise RuntimeError('the kernel of soft ranks gives wrong results on this device')

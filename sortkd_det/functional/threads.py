"""Rows shared among threads: compiled kernels that hold no lock run side by side."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked process has the object, but not its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def split_rows(
    kernel: Callable, matrices: tuple[Tensor, ...], arguments: tuple, worth: int
) -> list:
    """Call ``kernel(*parts, *arguments)`` on consecutive parts of the rows, one a thread.

    There are at most as many threads as torch uses for itself.

    Args:
        kernel: releases the interpreter's lock; takes numpy arrays.
        matrices: tensors on the CPU with N rows each, cut alike; contiguous.
        arguments: the same for each part.
        worth: numbers in the first of ``matrices`` that make one more thread worth its start.

    Returns:
        First row and result of each part, in order.
    """
    arrays = [matrix.numpy() for matrix in matrices]
    num_parts = matrices[0].numel() // worth
    if num_parts > 1:
        num_rows = len(matrices[0])
        num_parts = min(num_parts, num_rows, torch.get_num_threads())
    if num_parts <= 1:
        return [(0, kernel(*arrays, *arguments))]
    bounds = [num_rows * part // num_parts for part in range(num_parts + 1)]
    parts = [[array[start:stop] for array in arrays] for start, stop in itertools.pairwise(bounds)]
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 2) - 1, 'sortkd-kernel')
    others = [_pool.submit(kernel, *part, *arguments) for part in parts[1:]]
    results = [kernel(*parts[0], *arguments), *(other.result() for other in others)]
    return list(zip(bounds, results, strict=False))

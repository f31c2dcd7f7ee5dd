"""Rows shared among threads: compiled kernels that hold no lock run side by side."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_PARTS_A_THREAD = 8
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked process has the object, but not its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def split_rows(
    kernel: Callable, matrices: tuple[Tensor, ...], arguments: tuple, worth: int
) -> list:
    """Call ``kernel(*parts, *arguments)`` on parts of the rows, shared among threads.

    There are at most as many threads as torch uses for itself, and several parts
    a thread: one that is held up leaves more of them to the others.

    Args:
        kernel: releases the interpreter's lock; takes numpy arrays.
        matrices: tensors on the CPU with N rows each, cut alike; contiguous.
        arguments: the same for each part.
        worth: numbers in the first of ``matrices`` that make one more thread worth its start.

    Returns:
        First row and result of each part, in order.
    """
    arrays = [matrix.numpy() for matrix in matrices]
    num_threads = matrices[0].numel() // worth
    if num_threads > 1:
        num_threads = min(num_threads, torch.get_num_threads())
    if num_threads <= 1:
        return [(0, kernel(*arrays, *arguments))]
    num_rows = len(matrices[0])
    num_parts = min(num_threads * _PARTS_A_THREAD, num_rows)
    bounds = [num_rows * part // num_parts for part in range(num_parts + 1)]
    left = iter(itertools.pairwise(bounds))

    def work() -> list:
        return [
            (start, kernel(*(array[start:stop] for array in arrays), *arguments))
            for start, stop in left  # each thread takes the next part that is left
        ]

    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 2) - 1, 'sortkd-kernel')
    others = [_pool.submit(work) for _ in range(num_threads - 1)]
    results = work()
    for other in others:
        if not other.cancel():  # one that has not woken up yet has nothing left to do
            results.extend(other.result())
    return sorted(results)

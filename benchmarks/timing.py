"""Timing by turns: functions that are compared run in alternating blocks, in one process."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

_WARM_UP = 5


def time_alternating(
    calls: Sequence[Callable[[], object]],
    repeats: int,
    blocks: int,
    device: str = 'cpu',
    between: Callable[[], object] | None = None,
) -> list[list[float]]:
    """Seconds of each call: the median of each block, in blocks that take turns.

    On a GPU its own clock counts; on the CPU the wall's, and there ``between`` is
    called before each call, off the clock.
    """
    for call in calls:
        for _ in range(_WARM_UP):
            call()
    medians: list[list[float]] = [[] for _ in calls]
    for _ in range(blocks):
        for call, results in zip(calls, medians, strict=True):
            seconds = (
                _cuda_seconds(call, repeats)
                if 'cuda' in device
                else _seconds(call, repeats, between)
            )
            results.append(statistics.median(seconds))
    return medians


def _seconds(call: Callable, repeats: int, between: Callable | None) -> list[float]:
    seconds = []
    for _ in range(repeats):
        if between is not None:
            between()
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def _cuda_seconds(call: Callable, repeats: int) -> list[float]:
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, stop in events:
        start.record()
        call()
        stop.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(stop) / 1e3 for start, stop in events]


def microseconds(seconds: float) -> str:
    """Seconds as a cell of a table."""
    return f'{seconds * 1e6:,.1f}' if seconds < 1e-4 else f'{seconds * 1e6:,.0f}'

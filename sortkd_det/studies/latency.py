"""How fast detectors are, measured so that they can be compared."""

import copy
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

_WARM_UP = 3  # batches of each model that are not counted


def measure_latencies(
    models: Mapping[str, nn.Module], batches: Sequence[dict], budget: float = 60.0
) -> dict[str, list[float]]:
    """Time ``test_step`` of several detectors in turns, in this process.

    Each batch goes through all models before the next one does, and each time
    another model begins, so that what else the machine does meets all alike.
    Preprocessing and NMS count, reading images does not.

    Args:
        models: name → detector in eval mode.
        batches: collated samples of a test data set; at least one.
        budget: seconds after which no further batch is begun, > 0.

    Returns:
        Name → seconds of each batch, in the order of ``batches``; as many for
        each model, at least one.
    """
    names = list(models)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    num_warm_up = min(_WARM_UP, len(batches))
    deadline = time.monotonic() + budget
    for index, batch in enumerate([*batches[:num_warm_up], *batches]):
        if index > num_warm_up and time.monotonic() > deadline:
            break
        first = index % len(names)
        for name in names[first:] + names[:first]:
            fresh = copy.deepcopy(batch)  # a model writes into its samples
            _wait_for_device()
            begin = time.perf_counter()
            with torch.no_grad():
                models[name].test_step(fresh)
            _wait_for_device()
            if index >= num_warm_up:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

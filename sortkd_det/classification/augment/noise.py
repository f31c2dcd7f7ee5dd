"""Random numbers that are a function of (seed, epoch, sample, draw) and of nothing else."""

import numpy as np
import torch
from torch import Tensor

from sortkd_det.functional.kernels import load_kernels

_GOLDEN = -7046029254386353131  # 2^64 / φ as a signed number
_MULTIPLIERS = (-4658895280553007687, -7723592293110705685)


def uniform(seed: int, epoch: int, indices: Tensor, num_draws: int, stream: int = 0) -> Tensor:
    """Uniform numbers for a batch of samples, the same on every device and in every batch.

    Args:
        seed: of the run.
        epoch: any whole number.
        indices: (B,) int64, which samples of the data set these are.
        num_draws: numbers for each sample.
        stream: another one gives other numbers: one for each purpose.

    Returns:
        (B, num_draws) float32 in [0, 1), on the device of ``indices``.

    Source: Steele et al., "Fast Splittable Pseudorandom Number Generators"
    (OOPSLA 2014), the finaliser of SplitMix64, over a counter.
    """
    key = seed * 2654435769 + stream
    kernels = load_kernels('augment_cpu') if indices.is_cpu else None
    if kernels is not None:
        result = torch.empty((len(indices), num_draws), dtype=torch.float32)
        kernels.uniform(
            np.uint64(key % 2**64), np.uint64(epoch % 2**64), indices.numpy(), result.numpy()
        )
        return result
    state = _mix(torch.as_tensor(_wrap(key)))
    state = _mix(state + _wrap(epoch * _GOLDEN)).to(indices.device)
    state = _mix(state + indices * _GOLDEN)
    draws = torch.arange(1, num_draws + 1, device=indices.device) * _GOLDEN
    bits = _mix(state[:, None] + draws)
    return _shift(bits, 40).to(torch.float32) * 2**-24


def _mix(bits: Tensor) -> Tensor:
    """Spread int64 bits so that near numbers give unrelated ones; products wrap around."""
    bits = (bits ^ _shift(bits, 30)) * _MULTIPLIERS[0]
    bits = (bits ^ _shift(bits, 27)) * _MULTIPLIERS[1]
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Shift to the right as if the bits had no sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _wrap(number: int) -> int:
    """The number modulo 2^64, as a signed one."""
    return (number + 2**63) % 2**64 - 2**63

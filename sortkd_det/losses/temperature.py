"""Temperatures: one number, several whose losses are summed, or one that is learned."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sortkd_det.functional import check_positive
from sortkd_det.registry import MODELS, build


@MODELS.register_module()
class LearnableTemperature(nn.Module):
    """CTKD's temperature T = start + span · sigmoid(θ), which works against the student.

    The gradient that reaches θ is multiplied by λ, which goes from 0 to -1 along
    half a cosine over the first ``ramp`` epochs (iterations, where the run is
    counted in them): λ(e) = -(1 - cos(π · min(e, ramp) / ramp)) / 2 in epoch e,
    counted from 1. θ is optimised by the student's optimizer, kept in the
    checkpoint beside the student's weights, and averaged over processes.

    Args:
        start: the lowest temperature; > 0.
        span: the highest is ``start + span``; > 0.
        ramp: epochs (iterations) over which λ falls to -1; > 0.

    Raises:
        TypeError, ValueError: an argument that is not a finite number > 0.

    Source: Li et al., "Curriculum Temperature for Knowledge Distillation" (AAAI
    2023, arXiv 2211.16231), the global temperature; θ starts at 1.
    """

    def __init__(self, start: float = 1.0, span: float = 20.0, ramp: float = 10) -> None:
        super().__init__()
        self.start = check_positive('start', start)
        self.span = check_positive('span', span)
        self.ramp = check_positive('ramp', ramp)
        self.theta = nn.Parameter(torch.tensor(1.0))
        self.set_epoch(1)

    def set_epoch(self, now: int) -> None:
        """Set λ for epoch (iteration) ``now``, counted from 1."""
        progress = min(max(now, 0), self.ramp) / self.ramp
        self.reversal = -(1 - math.cos(math.pi * progress)) / 2

    def forward(self) -> Tensor:
        """The temperature, a scalar tensor."""
        held = self.theta.detach()
        # In value θ, to the bit; its gradient is multiplied by λ.
        reversed_theta = held + self.reversal * (self.theta - held)
        return self.start + self.span * torch.sigmoid(reversed_theta.double())


def build_temperature(temperature: Any) -> float | tuple[float, ...] | nn.Module:
    """A checked temperature from a config.

    Args:
        temperature: a number > 0; a list of them, whose losses are summed; or
            ``dict(type='LearnableTemperature', …)``.

    Raises:
        KeyError, TypeError, ValueError: none of these.
    """
    if isinstance(temperature, Mapping | nn.Module):
        return build(MODELS, temperature, 'temperature')
    if isinstance(temperature, Sequence) and not isinstance(temperature, str):
        if not temperature:
            raise ValueError('temperature must be a number or a list of at least one, got []')
        return tuple(check_positive('temperature', value) for value in temperature)
    return check_positive('temperature', temperature)

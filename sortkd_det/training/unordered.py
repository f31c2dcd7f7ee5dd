"""Operators of mmcv that keep runs on a GPU from being repeatable to the bit."""

import logging

import torch
from torch import nn

# Their backward kernels for CUDA add with atomicAdd (csrc/common/cuda of mmcv 2.1), which
# torch.use_deterministic_algorithms knows nothing of.
_UNORDERED = {
    'BezierAlign', 'BorderAlign', 'CARAFENaive', 'DeformConv2d', 'DeformRoIPool',
    'ModulatedDeformConv2d', 'MultiScaleDeformableAttention', 'PrRoIPool', 'RiRoIAlignRotated',
    'RoIAlign', 'RoIAlignRotated', 'RoIPool',
}  # fmt: skip


def unordered_operators(model: nn.Module) -> list[str]:
    """Names of mmcv's operators in a model whose gradients are sums in no fixed order on CUDA."""
    return sorted(
        {
            kind.__name__
            for module in model.modules()
            for kind in type(module).__mro__
            if kind.__module__.startswith('mmcv.ops') and kind.__name__ in _UNORDERED
        }
    )


def warn_if_not_repeatable(model: nn.Module, device: torch.device, logger: logging.Logger) -> None:
    """Warn before a run that was asked to be deterministic and cannot be.

    Args:
        model: that is trained.
        device: on which.
        logger: of the run.
    """
    names = unordered_operators(model)
    if names and device.type == 'cuda':
        logger.warning(
            f'randomness.deterministic=True: mmcv adds the gradients of {", ".join(names)} on a '
            'GPU up in no fixed order (atomicAdd) and cannot be told otherwise: two runs with one '
            'seed will differ a little (two of ten iterations did by 2.4e-6 on an H200, see '
            'docs/reliability.md); on the CPU they are equal to the bit'
        )

"""Launches without a second look at arguments of a kind that was launched before.

Triton's own launch looks at each argument of each call, which takes longer than these kernels run;
its ``cdiv`` and ``next_power_of_2`` take microseconds each.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor

_compiled: dict[tuple, Any] = {}


def ceil_div(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below ``number`` ≥ 1."""
    return 1 << (number - 1).bit_length()


def launch(kernel: Any, programs: int, arguments: tuple, settings: dict[str, Any]) -> None:
    """Launch a kernel of Triton.

    Args:
        kernel: a ``triton.jit`` function whose numbers, but for floats, are not
            specialised; its constexprs come last.
        programs: how many programs.
        arguments: its tensors and numbers in order; the first is a tensor.
        settings: its constexprs by name, and options such as ``num_warps``.
    """
    device = arguments[0].device
    kinds: list[Any] = []
    aligned = True
    for argument in arguments:
        if isinstance(argument, Tensor):
            kinds.append(argument.dtype)
            aligned = aligned and argument.data_ptr() % 16 == 0
        else:
            kinds.append(type(argument))
    here = device.type != 'cuda' or device.index == torch.cuda.current_device()
    with contextlib.nullcontext() if here else torch.cuda.device(device):
        key = (id(kernel), device, *kinds, *settings.values())
        known = _compiled.get(key) if aligned else None
        if known is None:  # compiled here, or found on the disk
            known = kernel[(programs,)](*arguments, **settings)
            if aligned and known is not None:  # None: Triton's interpreter
                constants = [settings[name] for name in kernel.arg_names[len(arguments) :]]
                _compiled[key] = known, constants
        else:
            form, constants = known
            form[(programs, 1, 1)](*arguments, *constants)

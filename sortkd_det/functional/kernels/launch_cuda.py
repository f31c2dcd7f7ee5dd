"""Launches without a second look at arguments of a kind that was launched before.

Triton's own launch looks at each argument of each call, which takes longer than these kernels run;
its ``cdiv`` and ``next_power_of_2`` take microseconds each.
"""

import contextlib
from typing import Any

import torch
import triton
from torch import Tensor
from triton import knobs

_compiled: dict[tuple, Any] = {}
# Triton's versions whose compiled kernels are run by the arguments below; of the 13 µs that their
# public way takes on a slow host this spares 5.
_IS_KNOWN = (3, 6) <= tuple(map(int, triton.__version__.split('.')[:2])) <= (3, 9)


def current_stream(device: torch.device) -> int:
    """The handle of the current stream of a CUDA device, without an object of torch's for it."""
    return torch._C._cuda_getCurrentRawStream(device.index)


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
            hooks = knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook
            if _IS_KNOWN and not any(getattr(hook, 'calls', hook) for hook in hooks):
                handles = current_stream(device), form.function, form.packed_metadata
                form.run(programs, 1, 1, *handles, None, None, None, *arguments, *constants)
            else:
                form[(programs, 1, 1)](*arguments, *constants)

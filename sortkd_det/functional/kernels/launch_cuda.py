"""Launches without a second look at arguments of a kind that was launched before.

Triton's own launch looks at each argument of each call, which takes longer than these kernels run;
its ``cdiv`` and ``next_power_of_2`` take microseconds each.
"""

import ast
import contextlib
import re
from typing import Any

import torch
import triton
from torch import Tensor
from triton import knobs

_compiled: dict[tuple, Any] = {}
_LINEAR = re.compile(r'^(#\w+) = #ttg\.linear<\{.*?lane = (\[.*?\]), warp', re.MULTILINE)
_REDUCTION = re.compile(
    r'"tt\.reduce"\(.*?\) <\{axis = (\d+) : i32\}>.*?\}\) : \(tensor<[^,>]*, (#\w+)', re.DOTALL
)
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


def torn_reductions(code: str) -> list[str]:
    """Reductions in Triton's GPU dialect over lanes of a warp that are no neighbours.

    Triton 3.6 shuffles among neighbours all the same, so that rows that share a warp
    get numbers of each other. Layouts are the compiler's choice: it must be looked at.
    """
    lanes = {name: ast.literal_eval(bases) for name, bases in _LINEAR.findall(code)}
    torn = []
    for axis, layout in _REDUCTION.findall(code):
        bits = [bit for bit, base in enumerate(lanes.get(layout, ())) if base[int(axis)]]
        if bits and bits != list(range(bits[0], bits[-1] + 1)):
            torn.append(f'axis {axis} of {layout} over lane bits {bits}')
    return torn


def _check_lowering(kernel: Any, compiled: Any, settings: dict[str, Any]) -> None:
    torn = torn_reductions(compiled.asm['ttgir'])
    if torn:
        raise RuntimeError(
            f'Triton {triton.__version__} lays out {kernel.__name__} with {settings} so that its '
            f'results would be wrong ({torn[0]}). Set SORTKD_KERNELS=0 to compute without kernels, '
            'and please report this'
        )


def launch(kernel: Any, programs: int, arguments: tuple, settings: dict[str, Any]) -> None:
    """Launch a kernel of Triton.

    Args:
        kernel: a ``triton.jit`` function whose numbers, but for floats, are not
            specialised; its constexprs come last.
        programs: how many programs.
        arguments: its tensors and numbers in order; the first is a tensor.
        settings: its constexprs by name, and options such as ``num_warps``.

    Raises:
        RuntimeError: the compiler's layout gives :func:`torn_reductions`.
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
            if known is None:  # Triton's interpreter
                return
            _check_lowering(kernel, known, settings)
            if aligned:
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

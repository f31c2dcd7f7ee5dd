"""Compile Triton kernels for a Hopper GPU in place of launching them."""

from typing import Any

import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.compiler import ASTSource
from triton.runtime.jit import mangle_type

from sortkd_det.functional.kernels import divergence_cuda, rank_cuda, sort_cuda

MODULES = (sort_cuda, divergence_cuda, rank_cuda)
HOPPER = GPUTarget('cuda', 90, 32)
programs: dict[str, bytes] = {}  # machine code by the kernels' names
layouts: list[str] = []  # what :func:`lay_out_only` gave


class _LaidOut(Exception):
    """The compiler has chosen all layouts."""


def compile_only(kernel: Any, number: int, arguments: tuple, settings: dict[str, Any]) -> None:
    """What :func:`~sortkd_det.functional.kernels.launch_cuda.launch` does before a launch."""
    names, given = kernel.arg_names, len(arguments)
    signature = dict(zip(names, map(mangle_type, arguments), strict=False))
    signature |= dict.fromkeys(names[given:], 'constexpr')
    aligned = {
        (place,): [['tt.divisibility', 16]]
        for place, argument in enumerate(arguments)
        if isinstance(argument, Tensor)
    }
    constants = {name: settings[name] for name in names[given:]}
    options = {name: value for name, value in settings.items() if name not in names}
    source = ASTSource(kernel, signature, constants, aligned)
    programs[kernel.__name__] = triton.compile(source, HOPPER, options).asm['cubin']


def lay_out_only(kernel: Any, number: int, arguments: tuple, settings: dict[str, Any]) -> None:
    """:func:`compile_only`, as far as the layouts of numbers in threads go."""

    def stop(self: Any, module: Any, *_: Any) -> None:
        raise _LaidOut(str(module))

    lowering, CUDABackend.make_llir = CUDABackend.make_llir, stop
    try:
        compile_only(kernel, number, arguments, settings)
    except _LaidOut as code:
        layouts.append(str(code))
    finally:
        CUDABackend.make_llir = lowering

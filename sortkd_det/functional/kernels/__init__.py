"""Faster versions of single functions, with the same results.

Each module needs a library that compiles (numba on CPUs, Triton on CUDA) and is
loaded at its first use; without the library plain torch does the work. With
``SORTKD_KERNELS=0`` in the environment none is loaded.
"""

import functools
import importlib
import os
import warnings
from types import ModuleType

#: Classes of a row that the registers of a CUDA device hold; wider rows pass by in pieces.
WIDEST_ON_CUDA = 4096


@functools.cache
def load_kernels(name: str) -> ModuleType | None:
    """The module of kernels of that name, or None where it cannot be used.

    A module's ``check()``, if it has one, runs first: what it raises is shown as
    a warning, and plain torch is used.
    """
    if os.environ.get('SORTKD_KERNELS') == '0':
        return None
    try:
        module = importlib.import_module(f'{__name__}.{name}')
    except ImportError:
        return None
    try:
        getattr(module, 'check', lambda: None)()
    except Exception as error:
        warnings.warn(
            f'the compiled kernels {name} do not work here and plain torch is used instead: '
            f'{type(error).__name__}: {error}',
            stacklevel=2,
        )
        return None
    return module

"""Files of the safetensors library: tensors by name, and nothing that could be executed."""

import os

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_MAX_HEADER = 2**24  # bytes; each tensor named in it takes some hundred bytes more in memory


def is_safetensors(path: str) -> bool:
    """Whether a file is one of the safetensors library, by its name or by how it begins."""
    if path.lower().endswith('.safetensors'):
        return True
    with open(path, 'rb') as file:
        length, brace = file.read(8), file.read(1)
    return brace == b'{' and int.from_bytes(length, 'little') < os.path.getsize(path)


def read_safetensors(path: str) -> dict[str, Tensor]:
    """The tensors in a file, by name, on the CPU.

    The library checks that the tensors lie in the file side by side, each as long as its shape
    and type say.

    Raises:
        ValueError: the file is none of these, is damaged, or claims a header beyond 16 MiB.
    """
    try:
        with open(path, 'rb') as file:
            length, num_bytes = int.from_bytes(file.read(8), 'little'), os.path.getsize(path)
            if length > min(_MAX_HEADER, num_bytes):
                raise ValueError(
                    f'its header claims {length} bytes, expected at most {_MAX_HEADER}; the file '
                    f'has {num_bytes}'
                )
        return load_file(path)
    except (SafetensorError, ValueError, OSError, MemoryError) as error:
        raise ValueError(f'it is no safetensors file, or is damaged: {error}') from error

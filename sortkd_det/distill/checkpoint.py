"""Checkpoints are data: read without executing anything, written as plain types."""

import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import get_external_models

_HISTORY_STATISTICS = ('min', 'max', 'mean', 'current')
_HISTORY_FIELDS = {'log_history', 'count_history', 'max_length'}


# How torch's weights-only loading names what it refuses.
_REFUSED_OBJECT = re.compile(
    r"(?:GLOBAL|but got(?: <class)?|unrecognized function(?: <function)?) '?([\w.]+(?:\(.*?\))?)"
)
_REASON = re.compile(r'WeightsUnpickler error:\s*(.+)')


# What torch.load raises, here and there, on bytes that are not what they should be.
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class UnsafeCheckpointError(ValueError):
    """A file holds objects beyond tensors and plain types."""


def _history_statistic(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` in files: nothing but HistoryBuffer's own methods."""
    if owner is HistoryBuffer and name in _HISTORY_STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(
        f'Unsupported global: GLOBAL builtins.getattr({owner!r}, {name!r})'
    )


# What a HistoryBuffer of MMEngine is pickled with; numpy's reconstruct functions
# build arrays and scalars from bytes and call nothing.
_SAFE_GLOBALS = [
    HistoryBuffer,
    (_history_statistic, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *(
        (function, f'{module}.{function.__name__}')
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
        for function in (
            np.zeros(0).__reduce__()[0],  # _reconstruct
            np.float64(0).__reduce__()[0],  # scalar
        )
    ),
    *(type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8', 'i4')),
]


def load_checkpoint(filename: str, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint that holds tensors and plain types, and nothing else.

    MMEngine's ``HistoryBuffer`` is let through, because older checkpoints of
    MMDetection hold it. ``meta['config']`` is left out: MMEngine's resume would
    execute it as Python.

    Args:
        filename: a path, or an http(s) address, which is downloaded once into
            torch's hub folder.
        map_location: as in ``torch.load``.

    Returns:
        The dict in the file.

    Raises:
        FileNotFoundError: no such file.
        UnsafeCheckpointError: the file holds another kind of object; it is named.
        ValueError: the file is no PyTorch checkpoint, or is damaged.
    """
    path = _local_path(str(filename))
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        found = _REFUSED_OBJECT.search(str(error))
        if found is None or not _is_whole(path):
            reason = _REASON.search(str(error))
            raise ValueError(
                f'{path} is not a PyTorch checkpoint, or is damaged'
                + (f': {reason.group(1)}' if reason else '')
            ) from error
        raise UnsafeCheckpointError(
            f'{path} holds {found.group(1)}, which is neither a tensor nor a plain type, and '
            'loading it could run code. If you trust the file, load it yourself and save its '
            "weights alone: torch.save({'state_dict': checkpoint['state_dict']}, path)"
        ) from error
    except _DAMAGED as error:
        raise ValueError(f'{path} is not a PyTorch checkpoint, or is damaged: {error}') from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(
            f'{path} holds a {type(checkpoint).__name__}, expected a dict with a state_dict'
        )
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _is_whole(path: str) -> bool:
    """Whether the pickles of a file in torch's old format end; one cut off names odd objects.

    Nothing is executed: ``pickletools`` only parses.
    """
    if zipfile.is_zipfile(path):
        return True
    with open(path, 'rb') as file:
        for _ in range(5):  # magic number, protocol, system, object, storage keys
            if not file.peek(1):
                return True
            try:
                for _ in pickletools.genops(file):
                    pass
            except Exception:  # whatever a parser meets in cut bytes
                return False
    return True


def weights_of(checkpoint: Mapping, filename: str) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint, without the prefix that DDP adds.

    Raises:
        ValueError: there are no weights in it.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    if not checkpoint or not all(isinstance(v, torch.Tensor) for v in checkpoint.values()):
        raise ValueError(
            f'{filename} holds no weights: expected a dict of tensors, or one under the key '
            f'"state_dict" or "model"; its keys are {sorted(map(str, checkpoint))[:8]}'
        )
    return {key.removeprefix('module.'): value for key, value in checkpoint.items()}


def to_plain(value: Any) -> Any:
    """Copy of ``value`` in which only tensors and plain types are left.

    ``HistoryBuffer`` becomes a dict of lists and numbers, numpy arrays and
    scalars become lists and numbers; :func:`restore_history` undoes the first.
    """
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return {
            'log_history': log_history.tolist(),
            'count_history': count_history.tolist(),
            'max_length': value.max_length,
        }
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if type(value) in (list, tuple, set):
        return type(value)(to_plain(item) for item in value)
    if isinstance(value, Mapping) and not isinstance(value, torch.nn.Module):
        # An OrderedDict of weights carries its versions in an attribute.
        plain = {to_plain(key): to_plain(item) for key, item in value.items()}
        if hasattr(value, '_metadata'):
            ordered = type(value)(plain)
            ordered._metadata = value._metadata
            return ordered
        return plain
    return value


def restore_history(message_hub: dict) -> None:
    """Turn the log scalars of a saved message hub back into ``HistoryBuffer``, in place."""
    scalars = message_hub.get('log_scalars', {})
    for name, history in scalars.items():
        if isinstance(history, Mapping) and set(history) == _HISTORY_FIELDS:
            scalars[name] = HistoryBuffer(**history)


def _local_path(filename: str) -> str:
    """Path of the file, downloaded first (by the main process) if it is an address."""
    if not filename.startswith(('http://', 'https://')):
        path = os.path.expanduser(filename)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'checkpoint {filename} does not exist')
        return path
    name = os.path.basename(urlparse(filename).path)
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, name)
    if is_main_process():
        _download(filename, path)
    barrier()
    _download(filename, path)  # another machine's processes have a disk of their own
    return path


def _download(address: str, path: str) -> None:
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    digest = re.search(r'-([a-f0-9]{8,})\.', os.path.basename(path))
    try:
        torch.hub.download_url_to_file(address, path, digest and digest.group(1), progress=True)
    except OSError as error:
        raise FileNotFoundError(
            f'checkpoint {address} could not be downloaded ({error}); download it where there is a '
            f'network and place it at {path}, or name a local file'
        ) from error
    except RuntimeError as error:  # the digest in the name is not the file's
        raise ValueError(
            f'checkpoint {address} was not downloaded whole, or is another file: {error}'
        ) from error


# Every checkpoint of a run goes through MMEngine's registry of loaders: weights
# of backbones (`init_cfg`), `load_from`, `--resume`. Registering ours makes all
# of them weights-only; the stock ones for addresses would execute what they load.
@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_path_or_address(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of local files and http(s) addresses."""
    return load_checkpoint(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=('open-mmlab://', 'openmmlab://'), force=True)
def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of OpenMMLab's named backbones."""
    scheme, name = filename.split('://', 1)
    renamed = mmengine_checkpoint.get_deprecated_model_names()
    return _load_named(f'{scheme}://{renamed.get(name, name)}', get_external_models(), map_location)


@CheckpointLoader.register_scheme(prefixes=('modelzoo://', 'torchvision://'), force=True)
def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of torchvision's named backbones; it needs torchvision for the names."""
    return _load_named(filename, mmengine_checkpoint.get_torchvision_models(), map_location)


@CheckpointLoader.register_scheme(prefixes='mmcls://', force=True)
def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of MMClassification's named backbones: theirs alone, without the head."""
    checkpoint = _load_named(filename, mmengine_checkpoint.get_mmcls_models(), map_location)
    weights = weights_of(checkpoint, filename)
    prefix = 'backbone.'
    return {
        'state_dict': {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
    }


def _load_named(filename: str, addresses: Mapping[str, str], map_location: Any) -> dict:
    name = filename.split('://', 1)[1]
    if name not in addresses:
        raise ValueError(f'unknown backbone {filename}; known are: {", ".join(sorted(addresses))}')
    return load_checkpoint(addresses[name], map_location)

"""Checkpoints are data: read without executing anything, written as plain types."""

import hashlib
import http.client
import os
import pickle
import re
import reprlib
import struct
import uuid
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import get_external_models

from .fit import find_weights, with_state_dict
from .inspector import HISTORY_STATISTICS, RefusedObjectError, inspect_checkpoint
from .safetensors_reader import is_safetensors, read_safetensors

# What a checkpoint may hold: as it is; subclasses, as what they derive from.
_AS_IT_IS = (torch.Tensor, torch.Size, torch.dtype, torch.device, type(None))
_SIMPLE = (bool, int, float, complex, str, bytes)
_ROWS = (list, tuple, set, frozenset, deque, range)
_KNOWN = (*_AS_IT_IS, *_SIMPLE, *_ROWS, HistoryBuffer, np.ndarray, np.generic, Enum, Mapping)
_HISTORY_FIELDS = {'log_history', 'count_history', 'max_length'}

_MAX_DOWNLOAD = 2**34  # bytes
_TIMEOUT = 30  # seconds without a byte

# How torch's weights-only loading words why it refuses.
_REASON = re.compile(r'WeightsUnpickler error:\s*(.+)')

# Entries of a run's record that name checkpoints to be deleted, and names of such.
_DELETED = re.compile(r'(last|stopped)_ckpt|best_ckpt.*')
_OF_A_RUN = re.compile(r'(best|stopped|epoch|iter)_.+\.pth')

# What readers of zip files and pickles raise on bytes that are not what they should be.
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


class UnsafeCheckpointError(ValueError):
    """A file holds objects beyond tensors and plain types."""


def _history_statistic(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` in files: nothing but HistoryBuffer's own methods."""
    if owner is HistoryBuffer and name in HISTORY_STATISTICS:
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
    execute it as Python; so are the names of files that a resumed run would
    delete, save for checkpoints beside this one. What the file says about its
    contents is checked before anything is made of it, so that memory and time
    stay in proportion to its size.

    Args:
        filename: a path, or an http(s) address, which is downloaded once into
            torch's hub folder. One of the safetensors library is read by that library.
        map_location: as in ``torch.load``; a safetensors file is read to the CPU.

    Returns:
        The dict in the file; the weights of a safetensors file under ``state_dict``.

    Raises:
        FileNotFoundError: no such file.
        UnsafeCheckpointError: the file holds another kind of object; it is named.
        ValueError: the file is no PyTorch checkpoint, is damaged, claims what it
            does not hold (tensors beyond its size, compressed records, endless
            nesting), or has entries of a wrong kind.
    """
    filename = str(filename)
    path = _local_path(filename)
    again = '; delete it to have it downloaded again' if _is_address(filename) else ''
    if is_safetensors(path):
        try:
            return {'state_dict': read_safetensors(path)}
        except ValueError as error:
            raise ValueError(f'{path} cannot be read: {error}{again}') from error
    try:
        inspect_checkpoint(path)
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except RefusedObjectError as error:
        raise UnsafeCheckpointError(
            f'{path} holds {error}, which is neither a tensor nor a plain type, and loading it '
            'could run code or fill the memory. If you trust the file, load it yourself and save '
            "its weights alone: torch.save({'state_dict': checkpoint['state_dict']}, path)"
        ) from error
    except _DAMAGED as error:
        reason = _REASON.search(str(error))
        raise ValueError(
            f'{path} is not a PyTorch checkpoint, or is damaged: '
            f'{reason.group(1) if reason else str(error) or type(error).__name__}{again}'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(
            f'{path} holds a {type(checkpoint).__name__}, expected a dict with a state_dict'
        )
    _check_entries(checkpoint, path)
    if checkpoint.get('meta'):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _check_entries(checkpoint: Mapping, path: str) -> None:
    """Check the kinds of the entries that a teacher, or MMEngine's ``resume``, reads."""

    def expect(holds: bool, place: str, found: Any, expected: str) -> None:
        if not holds:
            raise ValueError(f'{path} has {reprlib.repr(found)} under {place}, expected {expected}')

    for key in ('state_dict', 'meta', 'message_hub'):
        found = checkpoint.get(key)
        expect(found is None or isinstance(found, dict), key, found, 'a dict')
    meta = checkpoint.get('meta') or {}
    data = meta.get('dataset_meta') or {}
    expect(isinstance(data, dict), 'meta.dataset_meta', data, 'a dict')
    for place, entries in (('meta', meta), ('meta.dataset_meta', data)):
        for key, value in entries.items():
            expect(isinstance(key, str), place, key, 'names as its keys')
            if key.lower() == 'classes' and value is not None:
                names = isinstance(value, list | tuple) and all(isinstance(n, str) for n in value)
                expect(names, f'{place}.{key}', value, 'a list of names')
    for key, limit in (('epoch', 2**31), ('iter', 2**31), ('seed', 2**32)):
        value = meta.get(key)
        in_range = value is None or (isinstance(value, Integral) and 0 <= value < limit)
        expect(in_range, f'meta.{key}', value, f'a whole number in [0, {limit})')
    hub = checkpoint.get('message_hub')
    if hub:
        for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
            expect(isinstance(hub.get(key), dict), f'message_hub.{key}', hub.get(key), 'a dict')
        kept = hub['runtime_info'].get('keep_ckpt_ids', [])
        are_steps = isinstance(kept, list) and all(isinstance(step, int) for step in kept)
        expect(are_steps, 'message_hub.runtime_info.keep_ckpt_ids', kept, 'a list of steps')
        progress = hub['runtime_info'].get('batches_of_epoch', (0, 0))
        are_two = isinstance(progress, list | tuple) and len(progress) == 2
        are_two = are_two and all(isinstance(number, int) for number in progress)
        expect(are_two, 'message_hub.runtime_info.batches_of_epoch', progress, 'two numbers')
        _forget_foreign_files(hub['runtime_info'], path)


def _forget_foreign_files(info: dict, path: str) -> None:
    """Drop the files that a resumed run would delete, save for checkpoints beside this one."""
    folder = os.path.dirname(os.path.abspath(path))
    for key in [key for key in info if _DELETED.fullmatch(str(key))]:
        place, name = os.path.split(os.path.abspath(str(info[key])))
        if place != folder or not _OF_A_RUN.fullmatch(name):
            del info[key]


def to_plain(value: Any) -> Any:
    """Copy of ``value`` in which only tensors and plain types are left.

    ``HistoryBuffer`` becomes a dict of tensors and a number, which
    :func:`restore_history` undoes; numpy arrays and scalars become lists and
    numbers. Entries of dicts that are functions (a schedule's shape) are left out, as
    are objects of other kinds, with a warning (in lists they become None): no checkpoint
    with them could be read again.
    """
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return {
            'log_history': torch.from_numpy(log_history.astype(np.float64)),
            'count_history': torch.from_numpy(count_history.astype(np.int64)),
            'max_length': value.max_length,
        }
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, _SIMPLE):
        return next(kind(value) for kind in _SIMPLE if isinstance(value, kind))
    if isinstance(value, _ROWS):
        kind = next((kind for kind in (tuple, set) if isinstance(value, kind)), list)
        return kind(to_plain(item) for item in value)
    if isinstance(value, Mapping):
        # An OrderedDict of weights carries its versions in an attribute.
        plain = {
            to_plain(key): to_plain(item)
            for key, item in value.items()
            if not isinstance(item, Callable) and _is_writable(item)
        }
        if hasattr(value, '_metadata'):
            ordered = type(value)(plain)
            ordered._metadata = value._metadata
            return ordered
        return plain
    _is_writable(value)
    return None


def _is_writable(value: Any) -> bool:
    """Whether :func:`to_plain` knows what to make of ``value``; warns if it does not."""
    known = isinstance(value, _KNOWN)
    if not known:
        warnings.warn(
            f'checkpoints are written without an entry of {type(value).__qualname__}, which is '
            'neither a tensor nor a plain type; a resumed run begins it anew',
            stacklevel=3,
        )
    return known


def restore_history(message_hub: dict) -> None:
    """Turn the log scalars of a saved message hub back into ``HistoryBuffer``, in place.

    Raises:
        ValueError: a history that is not two lists of numbers of one length.
    """
    scalars = message_hub.get('log_scalars', {})
    for name, history in scalars.items():
        if isinstance(history, Mapping) and set(history) == _HISTORY_FIELDS:
            values, counts = (_numbers(history[key]) for key in ('log_history', 'count_history'))
            length = history['max_length']
            if (
                values is None
                or counts is None
                or len(values) != len(counts)
                or not (isinstance(length, int) and length > 0)
            ):
                raise ValueError(
                    f'the checkpoint is damaged: the history of {name!r} is not two rows of '
                    'numbers of one length, and the most that they may have'
                )
            scalars[name] = HistoryBuffer(values, counts, length)


def _numbers(values: Any) -> np.ndarray | None:
    """A tensor of one dimension, or a list of numbers, as an array; None: it is neither."""
    if isinstance(values, torch.Tensor) and values.dim() == 1 and not values.is_complex():
        return values.cpu().numpy()
    if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
        return np.array(values)
    return None


def _local_path(filename: str) -> str:
    """Path of the file, downloaded first (by the main process) if it is an address."""
    if not _is_address(filename):
        path = os.path.expanduser(filename)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'checkpoint {filename} does not exist')
        return path
    try:
        name = os.path.basename(urlparse(filename).path)
    except ValueError as error:
        raise ValueError(f'{filename} is no address: {error}') from error
    if name in ('', '.', '..'):
        raise ValueError(f'the address {filename} names no file')
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', name)
    if is_main_process():
        _download(filename, path)
    barrier()
    _download(filename, path)  # another machine's processes have a disk of their own
    return path


def _is_address(filename: str) -> bool:
    return filename.startswith(('http://', 'https://'))


def _download(address: str, path: str) -> None:
    """Place the file of an address at ``path``, whole or not at all."""
    if os.path.exists(path):
        return
    partial = f'{path}.{uuid.uuid4().hex}.partial'
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        digest = _fetch(address, partial)
        wanted = re.search(r'-([a-f0-9]{8,})\.', os.path.basename(path))
        if wanted and not digest.startswith(wanted.group(1)):
            raise ValueError(
                f'checkpoint {address} is damaged, or another file: its SHA-256 sum is {digest}, '
                f'its name says {wanted.group(1)}'
            )
        os.replace(partial, path)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise FileNotFoundError(
            f'checkpoint {address} could not be downloaded ({str(error) or repr(error)}); download '
            f'it where there is a network and place it at {path}, or name a local file'
        ) from error
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _fetch(address: str, path: str) -> str:
    """Download to ``path``; returns the SHA-256 sum."""
    digest = hashlib.sha256()
    request = Request(address, headers={'User-Agent': 'sortkd_det'})
    with urlopen(request, timeout=_TIMEOUT) as answer, open(path, 'xb') as file:
        length = answer.headers.get('Content-Length') or ''
        expected = int(length) if length.isdecimal() else None
        with torch.hub.tqdm(total=expected, unit='B', unit_scale=True) as bar:
            while content := answer.read(2**17):
                file.write(content)
                digest.update(content)
                bar.update(len(content))
                if file.tell() > _MAX_DOWNLOAD:
                    raise OSError(f'it has more than {_MAX_DOWNLOAD} bytes')
        if expected is not None and file.tell() != expected:
            raise OSError(f'{file.tell()} of {expected} bytes came')
    return digest.hexdigest()


# Every checkpoint of a run goes through MMEngine's registry of loaders: weights
# of backbones (`init_cfg`), `load_from`, `--resume`. Registering ours makes all
# of them weights-only; the stock ones for addresses would execute what they load.
@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_path_or_address(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of local files and http(s) addresses."""
    return with_state_dict(load_checkpoint(filename, map_location), filename)


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
    _, weights = find_weights(checkpoint, filename)
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

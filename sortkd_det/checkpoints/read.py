"""Checkpoints are data: read without executing anything."""

import os
import pickle
import re
import reprlib
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from sortkd_det.files import DAMAGED

from .download import is_address, local_path
from .refused import CheckpointRefused
from .safetensors_reader import is_safetensors, read_safetensors
from .torch_file import HISTORY_STATISTICS, inspect_checkpoint

# How torch's weights-only loading words why it refuses.
_REASON = re.compile(r'WeightsUnpickler error:\s*(.+)')

_SAVE_WEIGHTS_ALONE = (
    'if you trust the file, load it yourself and save its weights alone: '
    "torch.save({'state_dict': checkpoint['state_dict']}, path)"
)

# Entries of a run's record that name checkpoints to be deleted, and names of such.
_DELETED = re.compile(r'(last|stopped)_ckpt|best_ckpt.*')
_OF_A_RUN = re.compile(r'(best|stopped|epoch|iter)_.+\.pth')


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
        CheckpointRefused: the file holds another kind of object (it is named), is no PyTorch
            checkpoint, is damaged, claims what it does not hold (tensors beyond its size,
            compressed records, endless nesting), or has entries of a wrong kind.
    """
    filename = str(filename)
    path = local_path(filename)
    again = 'delete it to have it downloaded again' if is_address(filename) else ''
    if is_safetensors(path):
        try:
            return {'state_dict': read_safetensors(path)}
        except ValueError as error:
            raise CheckpointRefused(path, f'cannot be read: {error}', advice=again) from error
    try:
        inspect_checkpoint(path)
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointRefused as error:
        error.file, error.advice = path, _SAVE_WEIGHTS_ALONE
        raise
    except DAMAGED as error:
        raise CheckpointRefused(
            path,
            f'is not a PyTorch checkpoint, or is damaged: {_damage(path, error)}',
            advice=again,
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointRefused(
            path, f'holds a {type(checkpoint).__name__}, expected a dict with a state_dict'
        )
    _check_entries(checkpoint, path)
    if checkpoint.get('meta'):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _damage(path: str, error: Exception) -> str:
    """What is wrong with a file that cannot be read; of one of another kind, how it begins."""
    with open(path, 'rb') as file:
        start = file.read(40)
    if start and not start.startswith((b'PK', b'\x80')):  # a zip, a pickle
        return f'it begins with {start!r}, which torch.save never writes'
    reason = _REASON.search(str(error))
    return reason.group(1) if reason else str(error) or type(error).__name__


def _check_entries(checkpoint: Mapping, path: str) -> None:
    """Check the kinds of the entries that a teacher, or MMEngine's ``resume``, reads."""

    def expect(holds: bool, place: str, found: Any, expected: str) -> None:
        if not holds:
            raise CheckpointRefused(
                path, f'has {reprlib.repr(found)}, expected {expected}', place=place
            )

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

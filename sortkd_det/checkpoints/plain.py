"""Checkpoints as tensors and plain types, and back."""

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .refused import CheckpointRefused

# What a checkpoint may hold: as it is; subclasses, as what they derive from.
_AS_IT_IS = (torch.Tensor, torch.Size, torch.dtype, torch.device, type(None))
_SIMPLE = (bool, int, float, complex, str, bytes)
_ROWS = (list, tuple, set, frozenset, deque, range)
_KNOWN = (*_AS_IT_IS, *_SIMPLE, *_ROWS, HistoryBuffer, np.ndarray, np.generic, Enum, Mapping)
_HISTORY_FIELDS = {'log_history', 'count_history', 'max_length'}


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
        CheckpointRefused: a history that is not two lists of numbers of one length.
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
                raise CheckpointRefused(
                    'the checkpoint',
                    f'is damaged: the history of {name!r} is not two rows of numbers of one '
                    'length, and the most that they may have',
                    place='message_hub.log_scalars',
                )
            scalars[name] = HistoryBuffer(values, counts, length)


def _numbers(values: Any) -> np.ndarray | None:
    """A tensor of one dimension, or a list of numbers, as an array; None: it is neither."""
    if isinstance(values, torch.Tensor) and values.dim() == 1 and not values.is_complex():
        return values.cpu().numpy()
    if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
        return np.array(values)
    return None

"""Checkpoints: read as data, fitted to a model, written as plain types.

Importing this room makes MMEngine's checkpoint loaders weights-only.
"""

from .fit import fit_weights, starting_weights
from .newest import newest_checkpoint, note_last_checkpoint, noted_checkpoint
from .read import UnsafeCheckpointError, load_checkpoint, restore_history, to_plain

__all__ = [
    'UnsafeCheckpointError',
    'fit_weights',
    'load_checkpoint',
    'newest_checkpoint',
    'note_last_checkpoint',
    'noted_checkpoint',
    'restore_history',
    'starting_weights',
    'to_plain',
]

"""Checkpoints: read as data, fitted to a model, written as plain types.

Importing this room makes MMEngine's checkpoint loaders weights-only.
"""

from . import loaders  # noqa: F401 (fills MMEngine's registry)
from .describe import classes_of_checkpoint, describe_checkpoint
from .download import local_path
from .fit import fit_weights, load_what_fits, starting_weights
from .newest import newest_checkpoint, note_last_checkpoint, noted_checkpoint
from .plain import restore_history, to_plain
from .read import load_checkpoint
from .refused import CheckpointRefused

__all__ = [
    'CheckpointRefused',
    'classes_of_checkpoint',
    'describe_checkpoint',
    'fit_weights',
    'load_checkpoint',
    'load_what_fits',
    'local_path',
    'newest_checkpoint',
    'note_last_checkpoint',
    'noted_checkpoint',
    'restore_history',
    'starting_weights',
    'to_plain',
]

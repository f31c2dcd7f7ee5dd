"""Runs that give the same result twice, and go on where they were stopped.

Importing this room registers its loops, hooks and sampler; the tools use it for every run.
"""

from .batches import SeededBatch, SeededBatchSampler, seed_generators
from .checkpoint_hook import SafeCheckpointHook
from .finite import NonFiniteHook
from .loops import EpochLoop, IterLoop
from .runner import EXIT_STOPPED, ResumableRunner, StopHook, newest_checkpoint, noted_checkpoint

__all__ = [
    'EXIT_STOPPED',
    'EpochLoop',
    'IterLoop',
    'NonFiniteHook',
    'ResumableRunner',
    'SafeCheckpointHook',
    'SeededBatch',
    'SeededBatchSampler',
    'StopHook',
    'newest_checkpoint',
    'noted_checkpoint',
    'seed_generators',
]

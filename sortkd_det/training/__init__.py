"""Runs that give the same result twice, and go on where they were stopped.

Importing this room registers its loops and sampler; the tools use it for every run.
"""

from .batches import SeededBatch, SeededBatchSampler, seed_generators
from .loops import EpochLoop, IterLoop
from .runner import ResumableRunner

__all__ = [
    'EpochLoop',
    'IterLoop',
    'ResumableRunner',
    'SeededBatch',
    'SeededBatchSampler',
    'seed_generators',
]

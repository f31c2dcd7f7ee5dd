"""Batches that know when they are: the seed of each sample, and where a resumed run goes on."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from sortkd_det.functional import check_whole
from sortkd_det.registry import DATA_SAMPLERS


class SeededBatch:
    """Indices of one batch, and their moment; what a loader's worker is sent.

    Iterating over it seeds Python's, numpy's and torch's global generators
    before each index, so that whatever a data set's pipeline draws for a sample
    is a function of (seed, moment, index): not of the number of workers, nor of
    what they did before. A data set with ``__getitems__`` may read
    ``indices`` and ``moment`` instead.

    Args:
        indices: B places in a data set, each ≥ 0.
        moment: the epoch, counted from 0; the iteration, where the sampler is infinite.
        seed: of the run, ≥ 0.
    """

    __slots__ = ('indices', 'moment', 'seed')

    def __init__(self, indices: Sequence[int], moment: int, seed: int) -> None:
        self.indices = indices
        self.moment = moment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for index in self.indices:
            seed_generators(self.seed, self.moment, index)
            yield index


def seed_generators(*keys: int) -> None:
    """Seed the global generators of Python, numpy and torch by whole numbers ≥ 0."""
    state = np.random.SeedSequence(keys).generate_state(3).tolist()
    random.seed(state[0])
    np.random.seed(state[1])
    torch.manual_seed(state[2])


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(Sampler):
    """Yields the batches of another sampler as :class:`SeededBatch`.

    Args:
        sampler: of indices. Its attribute ``epoch`` is the moment of its batches;
            where it has none, as an infinite one, the batch's number in the run is.
        batch_size: of each process; several, where the batch sampler takes them.
        batch_sampler: how batches are made: ``dict(type='AspectRatioBatchSampler')``;
            None: one after the other.
        drop_last: leave an incomplete last batch out.
        seed: of the samples; None: the sampler's own.

    Attributes:
        start: batches that the next iteration leaves out, without loading them:
            those that a resumed run has seen. It is 0 again afterwards.
        passes: times that the sampler was exhausted before.

    Raises:
        TypeError, ValueError: ``batch_size`` or ``seed`` out of range.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int | Sequence[int],
        batch_sampler: Mapping[str, Any] | None = None,
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        for size in batch_size if isinstance(batch_size, list | tuple) else [batch_size]:
            check_whole('batch_size', size)
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            arguments = dict(sampler=sampler, batch_size=batch_size)
            if drop_last:
                arguments['drop_last'] = True
            self.batches = MMENGINE_DATA_SAMPLERS.build(dict(batch_sampler), default_args=arguments)
        self.sampler = sampler  # where MMEngine looks for set_epoch
        self.batch_size = batch_size
        self.seed = check_whole('seed', sampler.seed if seed is None else seed, minimum=0)
        self.start = 0
        self.passes = 0

    @property
    def is_finite(self) -> bool:
        """Whether the sampler goes through the data epoch by epoch."""
        return hasattr(self.sampler, 'epoch')

    def __iter__(self) -> Iterator[SeededBatch]:
        start, self.start = self.start, 0
        before = self.passes * len(self.batches) if self.passes else 0
        batches = iter(self.batches)
        for number in itertools.count():
            if not self.is_finite:  # some draw from the global generators, batch by batch
                seed_generators(self.seed, before + number)
            indices = next(batches, None)
            if indices is None:
                return
            if number >= start:
                moment = self.sampler.epoch if self.is_finite else before + number
                yield SeededBatch(indices, moment, self.seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

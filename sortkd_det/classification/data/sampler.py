"""An order of samples that depends on seed and epoch alone, and tells the workers the epoch."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from sortkd_det.functional import check_whole


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """MMEngine's ``DefaultSampler`` whose items are ``(epoch, index)``.

    Workers, persistent ones too, thus know the epoch of every sample. The
    permutation is ``numpy.random.default_rng((seed, epoch)).permutation(N)``;
    of W processes, rank r takes its places r, r + W, r + 2W, …, so that W
    processes with batches of B see the samples that one process sees with
    batches of W·B.

    Args:
        dataset: of N > 0 samples.
        shuffle: False: in the order of the data set, in every epoch.
        seed: ≥ 0, the same in all processes; None: drawn, and told to all
            processes by the first.
        round_up: repeat the first samples at the end until all processes have
            equally many; False: the last ranks may have one fewer.

    Raises:
        TypeError, ValueError: an empty data set, or a seed that is negative or no integer.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True
    ) -> None:
        if len(dataset) == 0:
            raise ValueError(
                'a sampler needs a data set with at least one sample, got an empty one'
            )
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else check_whole('seed', seed, minimum=0)
        self.round_up = round_up
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield this process's ``(epoch, index)`` of the epoch set last."""
        epoch, num_samples = self.epoch, len(self.dataset)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(num_samples)
        else:
            order = np.arange(num_samples)
        if self.round_up:
            order = np.resize(order, len(self) * self.world_size)
        for index in order[self.rank :: self.world_size].tolist():
            yield epoch, index

    def __len__(self) -> int:
        """The number of samples of this process in an epoch."""
        left_out = 0 if self.round_up else self.rank
        return -((left_out - len(self.dataset)) // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is, counted from 0; so a run resumes."""
        self.epoch = int(epoch)

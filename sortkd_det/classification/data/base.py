"""What all data sets of labelled images share: items, batches, memory held once."""

from collections.abc import Mapping, Sequence
from operator import index as as_index
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

#: An index, which counts as one of epoch 0, or ``(epoch, index)``.
Item = int | tuple[int, int]
#: What a loader asks for: items, or a ``SeededBatch`` of ``sortkd_det.training``.
Items = Any


class ClassificationDataset(Dataset):
    """Images with one label each, held in memory or read by a subclass.

    Attributes:
        labels: (N,) int64 in shared memory, each in [0, number of classes).
        images: (N, 3, H, W) uint8 RGB in shared memory, so that all worker
            processes have it once; None where images are read when asked for.

    Args:
        classes: their names; a label is a place in this list.
        labels: (N,) int64.
        images: (N, 3, H, W) uint8, or None if the subclass writes
            :meth:`read_images`.
    """

    def __init__(self, classes: Sequence[str], labels: Tensor, images: Tensor | None = None):
        self._classes = tuple(classes)
        self.labels = share(labels)
        self.images = None if images is None else share(images)

    @property
    def metainfo(self) -> dict[str, tuple[str, ...]]:
        """``{'classes': names}``, the names in the order of the labels."""
        return {'classes': self._classes}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: Item) -> dict[str, Any]:
        """One image.

        Args:
            item: an index in [0, N), or ``(epoch, index)``.

        Returns:
            ``inputs``: (3, H, W) uint8 RGB, a copy; ``labels``, ``indices``,
            ``epoch``: int.

        Raises:
            IndexError: the index is outside of [0, N).
        """
        batch = self.__getitems__([item])
        return {
            'inputs': batch['inputs'][0],
            'labels': int(batch['labels'][0]),
            'indices': int(batch['indices'][0]),
            'epoch': batch['epoch'],
        }

    def __getitems__(self, items: Items) -> dict[str, Any]:
        """A whole batch at once; DataLoader calls this by itself.

        Args:
            items: B of what ``ds[item]`` takes, all of one epoch; or an object with the
                attributes ``indices`` and ``moment``, as ``SeededBatchSampler`` yields it.

        Returns:
            ``inputs``: (B, 3, H, W) uint8 RGB; ``labels``, ``indices``: (B,)
            int64; ``epoch``: int.

        Raises:
            IndexError: an index is outside of [0, N).
            ValueError: no items, or items of several epochs.
        """
        if hasattr(items, 'moment'):
            epoch, indices = items.moment, items.indices
        else:
            pairs = [item if isinstance(item, tuple) else (0, item) for item in items]
            epoch = _one_epoch([epoch for epoch, _ in pairs])
            indices = [as_index(index) for _, index in pairs]
        if min(indices) < 0 or max(indices) >= len(self):
            wrong = next(index for index in indices if not 0 <= index < len(self))
            raise IndexError(f'index {wrong} of a data set of {len(self)} images')
        places = torch.tensor(indices, dtype=torch.int64)
        return {
            'inputs': self.read_images(epoch, places),
            'labels': self.labels.index_select(0, places),
            'indices': places,
            'epoch': epoch,
        }

    def read_images(self, epoch: int, indices: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB of the (B,) indices, as they are in that epoch."""
        return self.images.index_select(0, indices)


@FUNCTIONS.register_module()
def collate(batch: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pass a ready batch through; stack single items into one.

    Args:
        batch: what :class:`ClassificationDataset` gives for a batch, or a list
            of what it gives for single items.

    Returns:
        ``inputs``: (B, 3, H, W) uint8; ``labels``, ``indices``: (B,) int64;
        ``epoch``: int.

    Raises:
        ValueError: no items, or items of several epochs.
    """
    if isinstance(batch, Mapping):
        return dict(batch)
    epoch = _one_epoch([item['epoch'] for item in batch])
    return {
        'inputs': torch.stack([item['inputs'] for item in batch]),
        'labels': torch.tensor([item['labels'] for item in batch]),
        'indices': torch.tensor([item['indices'] for item in batch]),
        'epoch': epoch,
    }


def share(tensor: Tensor) -> Tensor:
    """Move a tensor's storage to shared memory, in place.

    Raises:
        RuntimeError: there is too little shared memory; the message says how much is needed.
    """
    try:
        return tensor.share_memory_()
    except RuntimeError as error:
        raise RuntimeError(
            f'{tensor.nbytes / 2**20:.0f} MiB of shared memory are needed for a data set and '
            f'could not be had ({error}); make /dev/shm larger (docker run --shm-size), or choose '
            'smaller images or in_memory=False'
        ) from error


def _one_epoch(epochs: list[int]) -> int:
    if len(set(epochs)) != 1:
        raise ValueError(
            f'a batch is of one epoch, got {len(epochs)} items of the epochs {sorted(set(epochs))}'
        )
    return as_index(epochs[0])

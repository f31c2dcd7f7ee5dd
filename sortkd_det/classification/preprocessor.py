"""From a batch of 8-bit images to what a classifier is trained on, on the device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from sortkd_det.functional import check_whole
from sortkd_det.registry import MODELS

from .augment import crop_flip, crop_flip_normalize, normalize, strong_view, uniform

_WEAK, _STRONG = 0, 1  # streams of random numbers; a view of its own has the next ones
_DRAWS_WEAK, _DRAWS_STRONG = 3, 6


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Augments and normalises whole batches.

    In training each image is padded, cropped back at a random place and
    mirrored half of the time; a second view, if asked for, is a crop of its own
    with strong augmentation. What happens to a sample is a function of (seed,
    epoch, its index in the data set) alone: not of the batch it is in, the number of
    workers or processes, or the method that trains.

    Args:
        mean: of each channel of images between 0 and 1.
        std: likewise; > 0.
        padding: pixels on each side before the random crop; 0: no crop.
        flip: mirror half of the images.
        num_views: 1, or 2: the second is strongly augmented.
        seed: of the augmentation; None: that of the run.
        channels_last: give images in that memory format, for GPUs.

    Raises:
        TypeError, ValueError: an argument out of its range.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        padding: int = 4,
        flip: bool = True,
        num_views: int = 1,
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.padding = check_whole('padding', padding, minimum=0)
        self.num_views = check_whole('num_views', num_views)
        if num_views > 2:
            raise ValueError(f'num_views must be 1 or 2, got {num_views}')
        self.flip = flip
        self.seed = torch.initial_seed() % 2**31 if seed is None else check_whole('seed', seed, 0)
        self.channels_last = channels_last
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32), persistent=False)
        if self.mean.shape != self.std.shape or (self.std <= 0).any():
            raise ValueError(f'mean and std need one number a channel, std > 0; got {mean}, {std}')
        if max(self.mean.max(), self.std.max()) > 1:
            raise ValueError(
                f'mean and std are of images between 0 and 1, not 255; got {mean}, {std}'
            )

    # torch.compile would compile it again in each epoch, which is a number here.
    @torch.compiler.disable
    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the arguments of the classifier's forward.

        Args:
            data: ``inputs`` (B, C, H, W) uint8, and ``labels`` (B,), ``indices`` (B,), ``epoch``.
            training: augment.

        Returns:
            ``inputs``: (B, C, H, W) float32, or a list of two views; ``data_samples``: the
            other entries of ``data``.
        """
        # Random numbers are drawn where the indices come from, the host: what depends on them
        # there (which image gets which operation) then waits for no device.
        epoch, indices = int(data.get('epoch', 0)), data.get('indices')
        data = self.cast_data(dict(data))
        images = data.pop('inputs')
        # MMEngine calls this inside autocast: half precision would move pixels.
        with torch.autocast(images.device.type, enabled=False):
            if not training:
                views = [self._finished(normalize(images, self.mean, self.std))]
            else:
                views = [self._weak_view(images, epoch, indices)]
                if self.num_views == 2:
                    views.append(self._strong_view(images, epoch, indices))
        return {'inputs': views[0] if len(views) == 1 else views, 'data_samples': data}

    def _weak_noise(self, epoch: int, indices: Tensor, stream: int) -> Tensor:
        noise = uniform(self.seed, epoch, indices, _DRAWS_WEAK, stream)
        if not self.flip:
            noise[:, 2] = 1.0
        return noise

    def _weak_view(self, images: Tensor, epoch: int, indices: Tensor) -> Tensor:
        noise = self._weak_noise(epoch, indices, _WEAK).to(images.device)
        return self._finished(crop_flip_normalize(images, noise, self.padding, self.mean, self.std))

    def _strong_view(self, images: Tensor, epoch: int, indices: Tensor) -> Tensor:
        noise = self._weak_noise(epoch, indices, _STRONG).to(images.device)
        cropped = crop_flip(images, noise, self.padding)
        noise = uniform(self.seed, epoch, indices, _DRAWS_STRONG, _STRONG + 1)
        strong = strong_view(cropped, noise)
        return self._finished(normalize(strong, self.mean, self.std))

    def _finished(self, images: Tensor) -> Tensor:
        if self.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

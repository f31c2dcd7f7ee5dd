"""The augmentation that every recipe has: shift by padding and cropping, mirror, normalise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sortkd_det.functional.kernels import load_kernels
from sortkd_det.functional.threads import split_rows

_WORTH_A_THREAD = 2**20  # values of images that make one more thread worth its start


def crop_flip(images: Tensor, noise: Tensor, padding: int) -> Tensor:
    """Pad by zeros, crop to the old size at a random place, and mirror half of the images.

    Args:
        images: (B, C, H, W), any dtype. Not changed.
        noise: (B, 3) in [0, 1): down, right, mirrored if < 0.5.
        padding: pixels on each side, ≥ 0; 0: no shift.

    Returns:
        (B, C, H, W) of the dtype of ``images``.
    """
    rows, columns = _sources(images, noise, padding)
    padded = F.pad(images, (padding,) * 4)
    width = padded.shape[-1]
    places = (rows[:, :, None] * width + columns[:, None]).flatten(1)[:, None]
    cropped = padded.flatten(2).gather(2, places.expand(-1, images.shape[1], -1))
    return cropped.view(images.shape)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images / 255 - mean) / std per channel.

    Args:
        images: (B, C, H, W), 0 to 255.
        mean: (C,), of images between 0 and 1.
        std: (C,).

    Returns:
        (B, C, H, W) float32.
    """
    scale, offset = _scale_and_offset(mean, std)
    return images.to(torch.float32) * scale[:, None, None] - offset[:, None, None]


def crop_flip_normalize(
    images: Tensor, noise: Tensor, padding: int, mean: Tensor, std: Tensor
) -> Tensor:
    """:func:`crop_flip`, then :func:`normalize`: of uint8 on the CPU in one compiled pass."""
    kernels = None
    if images.is_cpu and images.dtype == torch.uint8:
        kernels = load_kernels('augment_cpu')
    if kernels is None:
        return normalize(crop_flip(images, noise, padding), mean, std)
    result = torch.empty(images.shape, dtype=torch.float32)
    split_rows(
        kernels.crop_flip_normalize,
        (images.contiguous(), noise.contiguous(), result),
        (padding, *(number.numpy() for number in _scale_and_offset(mean, std))),
        _WORTH_A_THREAD,
    )
    return result


def _scale_and_offset(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    return 1 / (255 * std), mean / std  # a product and a difference: no slow division a pixel


def _sources(images: Tensor, noise: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Which row and column of the padded image each of the result is, (B, H) and (B, W)."""
    height, width = images.shape[-2:]
    shifts = (noise[:, :2] * (2 * padding + 1)).long()
    rows = torch.arange(height, device=images.device) + shifts[:, :1]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(noise[:, 2:] < 0.5, width - 1 - columns, columns) + shifts[:, 1:]
    return rows, columns

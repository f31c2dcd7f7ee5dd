"""The strong view of SLD, MLKD and ranking alignment: two random operations and a cut-out.

Every operation takes a batch of images between 0 and 255 and one magnitude an
image; results are rounded to whole numbers, as those of 8-bit images are.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_NUM_OPERATIONS = 2
_CUT_OUT = 0.5  # of the side; less where it reaches over the border
_GREY = 127.0


def strong_view(images: Tensor, noise: Tensor) -> Tensor:
    """Two random operations on each image, then a grey square.

    Args:
        images: (B, 3, H, W), 0 to 255. Not changed.
        noise: (B, 6) in [0, 1): an operation and its magnitude, twice; the row and
            column of the square's middle. On the host, or the device is waited for.

    Returns:
        (B, 3, H, W) float32, whole numbers from 0 to 255.

    Source: FixMatch's RandAugment (arXiv 2001.07685), as in MLKD's released code.
    """
    images = images.to(torch.float32)
    names = list(OPERATIONS)
    for step in range(_NUM_OPERATIONS):
        chosen = (noise[:, 2 * step] * len(names)).long()
        for number, name in enumerate(names):
            rows = (chosen == number).nonzero().squeeze(1)
            if len(rows):
                operation, low, high = OPERATIONS[name]
                magnitude = low + (high - low) * noise[rows, 2 * step + 1].to(images.device)
                rows = rows.to(images.device)
                images = images.index_copy(0, rows, operation(images[rows], magnitude))
    return cut_out(images, noise[:, 4:].to(images.device))


def cut_out(images: Tensor, noise: Tensor) -> Tensor:
    """Set a square of half the side, around a random place, to grey.

    Args:
        images: (B, C, H, W).
        noise: (B, 2) in [0, 1): row and column of its middle.
    """
    height, width = images.shape[-2:]
    half = _CUT_OUT * min(height, width) / 2
    rows = torch.arange(height, device=images.device) + 0.5
    columns = torch.arange(width, device=images.device) + 0.5
    inside = ((rows - noise[:, :1] * height).abs() < half)[:, None, :, None] & (
        (columns - noise[:, 1:] * width).abs() < half
    )[:, None, None]
    return images.masked_fill(inside, _GREY)


def _blend(other: Tensor, images: Tensor, share: Tensor) -> Tensor:
    """``share`` of the images and the rest of ``other``."""
    share = share[:, None, None, None]
    return (other + share * (images - other)).clamp(0, 255).floor()


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601, (B, 1, H, W)."""
    weights = images.new_tensor([0.299, 0.587, 0.114])
    return (images * weights[:, None, None]).sum(1, keepdim=True).round()


def brightness(images: Tensor, share: Tensor) -> Tensor:
    """Mix with black."""
    return _blend(torch.zeros_like(images), images, share)


def colour(images: Tensor, share: Tensor) -> Tensor:
    """Mix with the image in grey."""
    return _blend(_grey(images), images, share)


def contrast(images: Tensor, share: Tensor) -> Tensor:
    """Mix with the mean grey of the image."""
    return _blend(_grey(images).mean((1, 2, 3), keepdim=True).round(), images, share)


def sharpness(images: Tensor, share: Tensor) -> Tensor:
    """Mix with a smoothed image, whose border is the image's own."""
    kernel = images.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = F.conv2d(images, kernel.expand(images.shape[1], 1, 3, 3), groups=images.shape[1])
    smoothed = images.clone()
    smoothed[:, :, 1:-1, 1:-1] = smooth.round()
    return _blend(smoothed, images, share)


def auto_contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    """Stretch each channel to the full range."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = ((images - low) * (255 / (high - low).clamp(min=1))).floor().clamp(0, 255)
    return torch.where(high > low, stretched, images)


def equalize(images: Tensor, magnitude: Tensor) -> Tensor:
    """Spread the values of each channel evenly, by its histogram."""
    flat = images.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    present = counts > 0
    last = torch.where(present, torch.arange(256, device=images.device), -1).amax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, last)) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = table.gather(2, flat).view(images.shape).to(images.dtype)
    return torch.where(step[..., None] > 0, spread, images)


def identity(images: Tensor, magnitude: Tensor) -> Tensor:
    """The images themselves."""
    return images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` bits of each value."""
    step = 2.0 ** (8 - bits.floor())[:, None, None, None]
    return (images / step).floor() * step


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is not below the threshold."""
    return torch.where(images < threshold[:, None, None, None], images, 255 - images)


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel of the result shows the nearest one at ``matrix`` · (x, y, 1), or black.

    Args:
        images: (B, C, H, W).
        matrix: (B, 2, 3), in pixels, the origin in the middle of the image.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) - (height - 1) / 2,
        torch.arange(width, device=images.device) - (width - 1) / 2,
        indexing='ij',
    )
    points = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    source = matrix @ points  # (B, 2, H · W)
    column = (source[:, 0] + (width - 1) / 2).round().long()
    row = (source[:, 1] + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    places = (row * width + column).masked_fill(~inside, 0)[:, None]
    warped = images.flatten(2).gather(2, places.expand(-1, images.shape[1], -1))
    return (warped * inside[:, None]).view(images.shape)


def _matrix(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    return torch.stack(
        [
            torch.stack([torch.as_tensor(cell).to(like).expand(len(like)) for cell in row], dim=1)
            for row in rows
        ],
        dim=1,
    )


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn about the middle."""
    angle = degrees.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    return _warp(images, _matrix([[cos, sin, 0.0], [-sin, cos, 0.0]], degrees))


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Shift each row by ``slope`` times its distance from the middle."""
    return _warp(images, _matrix([[1.0, slope, 0.0], [0.0, 1.0, 0.0]], slope))


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Shift each column by ``slope`` times its distance from the middle."""
    return _warp(images, _matrix([[1.0, 0.0, 0.0], [slope, 1.0, 0.0]], slope))


def translate_x(images: Tensor, share: Tensor) -> Tensor:
    """Shift by ``share`` of the width."""
    shift = (share * images.shape[-1]).round()
    return _warp(images, _matrix([[1.0, 0.0, shift], [0.0, 1.0, 0.0]], share))


def translate_y(images: Tensor, share: Tensor) -> Tensor:
    """Shift by ``share`` of the height."""
    shift = (share * images.shape[-2]).round()
    return _warp(images, _matrix([[1.0, 0.0, 0.0], [0.0, 1.0, shift]], share))


# By name: the operation, and the range of its magnitude.
OPERATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = {
    'auto_contrast': (auto_contrast, 0.0, 1.0),
    'brightness': (brightness, 0.05, 0.95),
    'colour': (colour, 0.05, 0.95),
    'contrast': (contrast, 0.05, 0.95),
    'equalize': (equalize, 0.0, 1.0),
    'identity': (identity, 0.0, 1.0),
    'posterize': (posterize, 4.0, 9.0),
    'rotate': (rotate, -30.0, 30.0),
    'sharpness': (sharpness, 0.05, 0.95),
    'shear_x': (shear_x, -0.3, 0.3),
    'shear_y': (shear_y, -0.3, 0.3),
    'solarize': (solarize, 0.0, 256.0),
    'translate_x': (translate_x, -0.3, 0.3),
    'translate_y': (translate_y, -0.3, 0.3),
}

"""Random numbers of samples, and crop, mirror and normalise whole batches, compiled by numba."""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / φ
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)


@njit(inline='always')
def _mix(bits):  # pragma: no cover
    bits = (bits ^ (bits >> _SHIFTS[0])) * _FIRST
    bits = (bits ^ (bits >> _SHIFTS[1])) * _SECOND
    return bits ^ (bits >> _SHIFTS[2])


@njit(cache=True, nogil=True)
def uniform(key, epoch, indices, result):  # pragma: no cover
    """Fill ``result`` as :func:`sortkd_det.classification.augment.uniform` does.

    Args:
        key: uint64, of seed and stream.
        epoch: uint64.
        indices: (B,) int64.
        result: (B, D) float32.
    """
    start = _mix(_mix(key) + epoch * _GOLDEN)
    for n in range(result.shape[0]):
        state = _mix(start + np.uint64(indices[n]) * _GOLDEN)
        for draw in range(result.shape[1]):
            bits = _mix(state + np.uint64(draw + 1) * _GOLDEN)
            result[n, draw] = np.float32(bits >> _SHIFTS[3]) * np.float32(2**-24)


@njit(cache=True, nogil=True)
def crop_flip_normalize(images, noise, result, padding, scale, offset):  # pragma: no cover
    """Write image * scale - offset of each image, shifted and mirrored, to ``result``.

    Args:
        images: (B, C, H, W) uint8.
        noise: (B, 3) float32 in [0, 1): down, right, mirrored if < 0.5.
        result: (B, C, H, W) float32.
        padding: shifts are whole numbers from -padding to padding; zeros come in.
        scale: (C,) float32.
        offset: (C,) float32.
    """
    num_images, num_channels, height, width = images.shape
    steps = np.float32(2 * padding + 1)
    # Whole rows from a padded copy of each channel, by flat indices without a sign: short loops,
    # slices and indices that might be negative are not vectorised.
    wide = width + 2 * padding
    padded = np.zeros((height + 2 * padding) * wide, np.uint8)
    pixels, out = images.reshape(-1), result.reshape(-1)
    row = np.uint64(width)
    for n in range(num_images):
        top, left = np.int64(noise[n, 0] * steps), np.int64(noise[n, 1] * steps)
        flip = noise[n, 2] < np.float32(0.5)
        for c in range(num_channels):
            plane = (n * num_channels + c) * height * width
            for y in range(height):
                source = np.uint64(plane + y * width)
                target = np.uint64((padding + y) * wide + padding)
                for x in range(row):
                    padded[target + x] = pixels[source + x]
            factor, low = scale[c], offset[c]
            for y in range(height):
                source = np.uint64((top + y) * wide + left)
                target = np.uint64(plane + y * width)
                if flip:
                    source += row - np.uint64(1)
                    for x in range(row):
                        out[target + x] = np.float32(padded[source - x]) * factor - low
                else:
                    for x in range(row):
                        out[target + x] = np.float32(padded[source + x]) * factor - low

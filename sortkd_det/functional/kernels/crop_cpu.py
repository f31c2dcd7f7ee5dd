"""Crop, mirror and normalise whole batches on the CPU, compiled by numba."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def crop_flip_normalize(images, shifts, flipped, offset, scale, result):  # pragma: no cover
    """Write (image - offset) / scale of each image, shifted and mirrored, to ``result``.

    Args:
        images: (B, C, H, W) uint8.
        shifts: (B, 2) int64, rows and columns: pixel (y, x) of the result is
            (y + shift, x + shift) of the image, zero outside.
        flipped: (B,) bool: mirror the image before the shift's columns count.
        offset: (C,) float32.
        scale: (C,) float32.
        result: (B, C, H, W) float32.
    """
    num_images, num_channels, height, width = images.shape
    table = np.empty((num_channels, 256), np.float32)
    for c in range(num_channels):
        for value in range(256):
            table[c, value] = (np.float32(value) - offset[c]) / scale[c]
    for n in range(num_images):
        down, right, flip = shifts[n, 0], shifts[n, 1], flipped[n]
        # Columns of the result that show the image, and where they begin in it.
        if flip:
            first, last = max(0, right), min(width, width + right)
        else:
            first, last = max(0, -right), min(width, width - right)
        first, last = min(first, width), max(last, 0)  # a shift may be wider than the image
        for c in range(num_channels):
            blank = table[c, 0]
            for y in range(height):
                row = y + down
                if row < 0 or row >= height:
                    for x in range(width):
                        result[n, c, y, x] = blank
                    continue
                for x in range(first):
                    result[n, c, y, x] = blank
                for x in range(last, width):
                    result[n, c, y, x] = blank
                if flip:
                    for x in range(first, last):
                        result[n, c, y, x] = table[c, images[n, c, row, width - 1 - x + right]]
                else:
                    for x in range(first, last):
                        result[n, c, y, x] = table[c, images[n, c, row, x + right]]

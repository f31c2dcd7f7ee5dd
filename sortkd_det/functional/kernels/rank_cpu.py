"""Soft ranks on the CPU, compiled by numba at its first call and kept on disk.

Projecting onto the permutahedron pools neighbours in the sorted row that lie at
most 1 apart (in units of 1 / strength): all of them end in one block. So a row
is not sorted but thrown into buckets of width 1, each of them pooled from the
start; only rows that spread over far more buckets than they have classes are
sorted.
"""

import numpy as np
from numba import njit

_BUCKETS_PER_CLASS = 8


@njit(cache=True, nogil=True)
def project_rows(values, result, blocks, strength):  # pragma: no cover - compiled
    """Write the soft ranks of the rows of ``values``, and which classes were pooled.

    Args:
        values: (N, C) float32 or float64, C-contiguous; a row that is not
            finite gives NaNs.
        result: (N, C), of the dtype of ``values``.
        blocks: (N, C) int32; classes with equal numbers in a row are one block.
        strength: ε > 0.
    """
    num_rows, num_classes = values.shape
    num_buckets = _BUCKETS_PER_CLASS * num_classes + 64
    sums = np.empty(num_buckets, np.float64)
    counts = np.empty(num_buckets, np.int64)
    # By block, a stack: mean of y = s - w, number of classes, last bucket.
    means = np.empty(num_buckets, np.float64)
    sizes = np.empty(num_buckets, np.int64)
    ends = np.empty(num_buckets, np.int64)
    scale = 1.0 / strength
    for n in range(num_rows):
        row, block, out = values[n], blocks[n], result[n]
        low = high = row[0]
        differences = row[0] - row[0]
        for c in range(num_classes):
            low = min(low, row[c])
            high = max(high, row[c])
            differences += row[c] - row[c]
        if differences != 0.0:  # NaN: the row holds a NaN or an infinite number
            out[:] = np.nan
            block[:] = 0
            continue
        spread = (np.float64(high) - np.float64(low)) * scale
        # Buckets stand in ascending order of values, which is descending order
        # of s = -values / ε; `sums` are those of values - low.
        if spread < num_buckets - 1:
            used = int(spread) + 1
            sums[:used] = 0.0
            counts[:used] = 0
            for c in range(num_classes):
                height = np.float64(row[c]) - low
                bucket = int(height * scale)
                block[c] = bucket
                sums[bucket] += height
                counts[bucket] += 1
        else:
            used = num_classes
            order = np.argsort(row)
            for k in range(num_classes):
                block[order[k]] = k
                sums[k] = np.float64(row[order[k]]) - low
                counts[k] = 1
        # Pool adjacent violators: the means of y must not increase.
        last = -1
        rank = num_classes  # of the next class: s_1 has rank C, s_C has rank 1
        for bucket in range(used):
            size = counts[bucket]
            if size == 0:
                continue
            mean = -scale * sums[bucket] / size - (rank - 0.5 * (size - 1))
            rank -= size
            while last >= 0 and means[last] <= mean:
                total = sizes[last] + size
                mean = (means[last] * sizes[last] + mean * size) / total
                size = total
                last -= 1
            last += 1
            means[last] = mean
            sizes[last] = size
            ends[last] = bucket
        # From now on by bucket: the mean of its block, and the block's number.
        bucket = 0
        for k in range(last + 1):
            while bucket <= ends[k]:
                sums[bucket] = means[k]
                counts[bucket] = k
                bucket += 1
        for c in range(num_classes):
            bucket = block[c]
            out[c] = -scale * (np.float64(row[c]) - low) - sums[bucket]
            block[c] = counts[bucket]


@njit(cache=True, nogil=True)
def project_gradients(gradients, blocks, result, strength):  # pragma: no cover - compiled
    """Multiply each row of ``gradients`` by the Jacobian of its soft ranks.

    Args:
        gradients: (N, C) float32 or float64, C-contiguous.
        blocks: (N, C) int32, from :func:`project_rows`.
        result: (N, C), of the dtype of ``gradients``.
        strength: ε > 0.
    """
    num_rows, num_classes = gradients.shape
    means = np.empty(num_classes, np.float64)
    sizes = np.empty(num_classes, np.int64)
    scale = 1.0 / strength
    for n in range(num_rows):
        row, block, out = gradients[n], blocks[n], result[n]
        num_blocks = 0
        for c in range(num_classes):
            num_blocks = max(num_blocks, block[c] + 1)
        means[:num_blocks] = 0.0
        sizes[:num_blocks] = 0
        for c in range(num_classes):
            means[block[c]] += row[c]
            sizes[block[c]] += 1
        for k in range(num_blocks):
            means[k] /= sizes[k]
        for c in range(num_classes):
            out[c] = scale * (means[block[c]] - row[c])

"""The sort on the CPU, compiled by numba at its first call and kept on disk."""

import numpy as np
from numba import njit

# Up to here an insertion sort of the classes above the label beats a call.
_FEW = 24


@njit(cache=True, nogil=True)
def sort_rows(logits, labels, ignore, ignore_index, result):  # pragma: no cover - compiled
    """Write the sorted rows of ``logits`` to ``result``.

    Args:
        logits: (N, C) float32 or float64, C-contiguous.
        labels: (N,) int64.
        ignore: whether ``ignore_index`` counts.
        ignore_index: rows with this label are copied as they are.
        result: (N, C), of the dtype of ``logits``.

    Returns:
        The first row whose label is out of range, or -1.
    """
    num_rows, num_classes = logits.shape
    above = np.empty(num_classes, np.int64)
    for n in range(num_rows):
        label = labels[n]
        row = logits[n]
        copy = result[n]
        if label < 0 or label >= num_classes:
            if ignore and label == ignore_index:
                copy[:] = row
                continue
            return n
        label_logit = row[label]
        copy[:] = row
        count = 0
        for c in range(num_classes):  # no branches: eight classes at a time
            count += row[c] > label_logit
        if count == 0 or (ignore and label == ignore_index):
            continue
        found = 0
        has_nan = False
        for c in range(num_classes):
            has_nan |= row[c] != row[c]
            if row[c] > label_logit:
                above[found] = c
                found += 1
        if has_nan:
            continue
        # Best class first; both sorts are stable, so that of equal logits the
        # lower class index comes first.
        if count <= _FEW:
            for i in range(1, count):
                moving = above[i]
                j = i
                while j > 0 and row[above[j - 1]] < row[moving]:
                    above[j] = above[j - 1]
                    j -= 1
                above[j] = moving
            order = above[:count]
        else:
            order = above[:count][np.argsort(-row[above[:count]], kind='mergesort')]
        copy[label] = row[order[0]]
        for i in range(count - 1):
            copy[order[i]] = row[order[i + 1]]
        copy[order[count - 1]] = label_logit
    return -1

"""The sort on the CPU, compiled by numba at its first call and kept on disk."""

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WIDTH = 16  # classes that are compared at once
_FEWEST = 4  # up to here an insertion sort of the classes above the label is fastest
# Up to here it is fastest to count, for each class above the label, the classes above it.
_FEW = 12 * _WIDTH


def _comparison(compare: Callable) -> Callable:
    """A function of an address and a number that compares the ``_WIDTH`` numbers there with it.

    Bit k of the result says how the k-th comparison came out. numba's own loops compile to
    shifts here, which cost more than all else.
    """

    @intrinsic
    def mask(context, address, number):
        def generate(target, builder, signature, arguments):
            vector = ir.VectorType(target.get_value_type(number), _WIDTH)
            pointer = builder.inttoptr(arguments[0], vector.as_pointer())
            numbers = builder.load(pointer, align=number.bitwidth // 8)
            undefined = ir.Constant(vector, ir.Undefined)
            lane = builder.insert_element(undefined, arguments[1], ir.IntType(32)(0))
            every_lane = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), None)
            other = builder.shuffle_vector(lane, undefined, every_lane)
            bits = builder.bitcast(compare(builder, numbers, other), ir.IntType(_WIDTH))
            return builder.zext(bits, ir.IntType(64))

        return types.uint64(types.uintp, number), generate

    return mask


_mask_above = _comparison(lambda builder, a, b: builder.fcmp_ordered('>', a, b))
_mask_not_below = _comparison(lambda builder, a, b: builder.fcmp_ordered('>=', a, b))
_mask_nan = _comparison(lambda builder, a, b: builder.fcmp_unordered('uno', a, b))


@intrinsic
def _lowest_bit(context, mask):
    """The index of the lowest bit of ``mask`` that is set; there must be one."""

    def generate(target, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


@intrinsic
def _bits_set(context, mask):
    """How many bits of ``mask`` are set."""

    def generate(target, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@njit(cache=True, nogil=True)
def sort_rows(logits, labels, result, ignore, ignore_index):  # pragma: no cover - compiled
    """Write the sorted rows of ``logits`` to ``result``.

    Args:
        logits: (N, C) float32 or float64, C-contiguous.
        labels: (N,) int64.
        result: (N, C), of the dtype of ``logits``.
        ignore: whether ``ignore_index`` counts.
        ignore_index: rows with this label are copied as they are.

    Returns:
        The first row whose label is out of range, or -1.
    """
    num_rows, num_classes = logits.shape
    order = np.empty(num_classes, np.int64)  # classes above the label, best first
    found, values = np.empty(_FEW, np.int64), np.empty(_FEW + _WIDTH, logits.dtype)
    for n in range(num_rows):
        label = labels[n]
        out_of_range = label < 0 or label >= num_classes
        if out_of_range and not (ignore and label == ignore_index):
            return n
        label_logit = logits[n, 0 if out_of_range else label]
        # No branches in here: as many classes at a time as the processor takes.
        count = np.int32(0)
        for c in range(num_classes):
            logit = logits[n, c]
            result[n, c] = logit
            count += np.int32(logit > label_logit)
        if count == 0 or (ignore and label == ignore_index):
            continue
        if count > _FEW:
            num_found = _find_many(logits, n, label_logit, order)
            if num_found == 0:
                continue
            if logits.itemsize == 4:
                _sort_many(logits.view(np.uint32), n, order, num_found)
            else:
                many = order[:num_found]
                order[:num_found] = many[np.argsort(-logits[n][many], kind='mergesort')]
        elif _find_few(logits, n, label_logit, found, values):
            _order_few(found, values, count, label_logit, order)
        else:
            continue
        result[n, label] = logits[n, order[0]]
        for k in range(1, count):
            result[n, order[k - 1]] = logits[n, order[k]]
        result[n, order[count - 1]] = label_logit
    return -1


@njit(cache=True, nogil=True)
def _find_few(logits, n, label_logit, found, values):  # pragma: no cover - compiled
    """Write the classes above the label to ``found``, their logits to ``values``.

    False if the row holds a NaN.
    """
    num_classes = logits.shape[1]
    address = logits.ctypes.data + n * num_classes * logits.itemsize
    num_found = 0
    for start in range(0, num_classes, _WIDTH):
        above = np.uint64(0)
        if start + _WIDTH <= num_classes:
            if _mask_nan(address, label_logit) != np.uint64(0):
                return False
            above = _mask_above(address, label_logit)
            address += _WIDTH * logits.itemsize
        else:
            for c in range(start, num_classes):
                if logits[n, c] != logits[n, c]:
                    return False
                above |= np.uint64(logits[n, c] > label_logit) << np.uint64(c - start)
        while above != np.uint64(0):
            moving = start + _lowest_bit(above)
            above &= above - np.uint64(1)
            values[num_found], found[num_found] = logits[n, moving], moving
            num_found += 1
    return True


@njit(cache=True, nogil=True)
def _order_few(found, values, count, label_logit, order):  # pragma: no cover - compiled
    """Write ``found`` to ``order``, the best first, and the lower index first among equal ones.

    A class's place is the number of classes that come before it: where they are not very few,
    no branch depends on the logits, so that the processor guesses none wrong.
    """
    if count <= _FEWEST:
        for k in range(count):
            logit, moving = values[k], found[k]
            place = k
            while place > 0 and values[place - 1] < logit:
                values[place], order[place] = values[place - 1], order[place - 1]
                place -= 1
            values[place], order[place] = logit, moving
        return
    for k in range(_WIDTH):
        values[count + k] = label_logit  # fills the last block up, and comes before none of them
    start, step = values.ctypes.data, _WIDTH * values.itemsize
    stop = start + count * values.itemsize
    for k in range(count):
        own = start + k // _WIDTH * step
        lower = (np.uint64(1) << np.uint64(k % _WIDTH)) - np.uint64(1)
        equal_or_above = _mask_not_below(own, values[k]) & lower
        place = _bits_set(_mask_above(own, values[k]) | equal_or_above)
        for address in range(start, own, step):
            place += _bits_set(_mask_not_below(address, values[k]))
        for address in range(own + step, stop, step):
            place += _bits_set(_mask_above(address, values[k]))
        order[place] = found[k]


@njit(cache=True, nogil=True)
def _find_many(logits, n, label_logit, order):  # pragma: no cover - compiled
    """Write the classes above the label to ``order``; their number, or 0 if there is a NaN."""
    num_found = num_nan = 0
    for c in range(logits.shape[1]):
        order[num_found] = c  # kept if the next one is written behind it
        num_found += np.int64(logits[n, c] > label_logit)
        num_nan += np.int64(logits[n, c] != logits[n, c])
    return 0 if num_nan else num_found


@njit(cache=True, nogil=True)
def _sort_many(bits, n, order, count):  # pragma: no cover - compiled
    """Sort classes by descending float32 logit, given by its bits: byte by byte, lowest first."""
    keys, classes = np.empty((2, count), np.uint32), np.empty((2, count), np.int64)
    for k in range(count):
        key = bits[n, order[k]]
        if key == np.uint32(0x80000000):  # -0.0 equals 0.0
            key = np.uint32(0)
        # Larger logits get smaller keys.
        keys[0, k] = key if key >> 31 else key ^ np.uint32(0x7FFFFFFF)
        classes[0, k] = order[k]
    starts = np.empty(256, np.int64)
    source = 0
    for shift in range(0, 32, 8):
        starts[:] = 0
        for k in range(count):
            starts[(keys[source, k] >> shift) & 255] += 1
        if starts[(keys[source, 0] >> shift) & 255] == count:
            continue
        total = 0
        for digit in range(256):
            starts[digit], total = total, total + starts[digit]
        for k in range(count):
            digit = (keys[source, k] >> shift) & 255
            keys[1 - source, starts[digit]] = keys[source, k]
            classes[1 - source, starts[digit]] = classes[source, k]
            starts[digit] += 1
        source = 1 - source
    order[:count] = classes[source]

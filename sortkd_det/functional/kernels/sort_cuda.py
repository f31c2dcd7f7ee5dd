"""The sort on CUDA: rows in registers, one or a few of them a warp.

Triton comes with torch's CUDA builds; nothing here makes the host wait for the device.
Values are compared by integers in their order, which take the reductions that Hopper and Ampere
have in hardware. A row in which few classes stand above the label is mended class by class; other
rows go through a sorting network.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import WIDEST_ON_CUDA as WIDEST
from .launch_cuda import ceil_div, launch, power_of_two
from .network_cuda import following_ranks, position_of, rank_at, sort_descending
from .tiles_cuda import load_rows, store_rows

_LOWEST: tl.constexpr = tl.constexpr(-(2**31))
_FIRST_WHOLE: tl.constexpr = tl.constexpr(0x4B000000)  # bits of 2 ** 23 in float32
_BUSY = 2**17  # threads that keep a device busy
# Of wider rows: classes that are looked at at once, those that the network sorts, and programs,
# four for each multiprocessor of a Hopper GPU.
_SPAN, _PIECE, _WIDE_PROGRAMS = 8192, 512, 528


@triton.jit
def keys_of(values):
    """Int32 numbers in the order of ``values``, which has 16 or 32 bits; -0.0 equals 0.0."""
    if values.dtype.primitive_bitwidth == 16:
        bits = values.to(tl.int16, bitcast=True).to(tl.int32)
        keys = bits ^ ((bits >> 31) & 0x7FFF)
    else:
        bits = values.to(tl.int32, bitcast=True)
        keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(keys == -1, 0, keys)


@triton.jit
def _value_of(key, is_negative_zero, dtype: tl.constexpr):
    """The value of ``dtype`` that :func:`keys_of` gave ``key``."""
    key = tl.where(is_negative_zero, -1, key)
    if dtype.primitive_bitwidth == 16:
        bits = (key ^ ((key >> 31) & 0x7FFF)).to(tl.int16)
    else:
        bits = key ^ ((key >> 31) & 0x7FFFFFFF)
    return bits.to(dtype, bitcast=True)


@triton.jit
def load_labels(labels, rows, inside, num_classes, ignore_index, IGNORE: tl.constexpr):
    """The rows' labels, int32; -1 where a row is to be left alone or its label is out of range."""
    label = tl.load(labels + rows, mask=inside, other=-1)
    fits = (label >= 0) & (label < num_classes)
    if IGNORE:
        fits = fits & (label != ignore_index)
    return tl.where(fits, label, -1).to(tl.int32)


@triton.jit
def _any(tile):
    """Whether any number of the tile is not 0, by a reduction over all lanes of a warp.

    The compiler sees that it is the same in all of them, and what branches on it needs no care
    for lanes that have gone another way.
    """
    return tl.max(tl.reshape(tile.to(tl.int32), (tile.numel,)), axis=0) > 0


@triton.jit
def _largest(numbers, columns):
    """The largest of int32 numbers (ROWS,), as :func:`_any` has it."""
    tile = tl.where(columns >= 0, numbers[:, None], 0)
    return tl.max(tl.reshape(tile, (tile.numel,)), axis=0)


@triton.jit
def _mend_distinct(values, limit, label, count, most, columns):
    """The sorted tile, where values above ``limit`` are finite and no two of a row are equal.

    From the limit upwards, all classes above a value are given it, until the next larger value
    takes its place. Beside the tile: how many values (ROWS,) were found, fewer than ``count`` where
    two are equal or one is infinite.
    """
    wide = values.to(tl.float32)
    result = values  # what stays keeps its bits: a NaN of 16 bits would not survive a conversion
    value = limit
    top = limit
    found = tl.zeros_like(label)
    for _ in range(0, most):
        above = wide > value[:, None]
        result = tl.where(above, value.to(values.dtype)[:, None], result)
        value = tl.min(tl.where(above, wide, float('inf')), axis=1)
        is_there = value < float('inf')
        found += is_there.to(tl.int32)
        top = tl.where(is_there, value, top)
    at_label = (columns == label[:, None]) & (count > 0)[:, None]
    return tl.where(at_label, top.to(values.dtype)[:, None], result), found


@triton.jit
def _mend(values, limit, label, own, count, most, columns, SOURCES: tl.constexpr):
    """The sorted tile, class by class: each above the limit hands its value to the one before.

    ``own`` is the label's value. With SOURCES the class whose value each class is
    given, in place of that value.
    """
    keys = keys_of(values)
    candidates = tl.where(values.to(tl.float32) > limit[:, None], keys, _LOWEST)
    negative_zero = (keys == 0) & (values.to(tl.float32).to(tl.int32, bitcast=True) < 0)
    places = columns * 2 + negative_zero.to(tl.int32)
    result = columns + tl.zeros_like(keys) if SOURCES else values
    receiver = label
    for _ in range(0, most):
        best = tl.max(candidates, axis=1)
        moves = best != _LOWEST
        is_best = candidates == best[:, None]
        place = tl.min(tl.where(is_best, places, 2 * keys.shape[1]), axis=1)
        giver = place >> 1
        given = giver if SOURCES else _value_of(best, (place & 1) != 0, values.dtype)
        receives = (columns == receiver[:, None]) & moves[:, None]
        result = tl.where(receives, given[:, None], result)
        candidates = tl.where(columns == giver[:, None], _LOWEST, candidates)
        receiver = tl.where(moves, giver, receiver)
    last = label if SOURCES else own
    return tl.where((columns == receiver[:, None]) & (count > 0)[:, None], last[:, None], result)


@triton.jit
def _coarse_levels(values, limit):
    """Fixed-point numbers ≥ 1 in the order of float32 values, where these are above ``limit``.

    With a column behind it a number fits 31 bits. Different values may get one number; where one
    is infinite, all do.
    """
    # From 2 ** 23 on, float32 has the whole numbers alone: their bits count up from _FIRST_WHOLE.
    # Sixteen steps are left for what a division on CUDA may be wrong by.
    STEPS: tl.constexpr = (2**31) // max(values.shape[1], 256)
    scale = tl.minimum((STEPS - 16) / (tl.max(values, axis=1) - limit), 1e38)
    level = (values - limit[:, None]) * scale[:, None] + 2.0**23
    level = tl.maximum(level, 2.0**23)  # NaN, of an infinity times 0, comes out as that
    return level.to(tl.int32, bitcast=True) - (_FIRST_WHOLE - 1)


@triton.jit
def _column_of(packed, WIDTH: tl.constexpr):
    """The column that a key of the network carries behind its level."""
    return ~packed & (WIDTH - 1)


@triton.jit
def _sort_exactly(
    logits, scratch, rows, is_row, label, limit, count, columns, NUM_CLASSES: tl.constexpr,
    VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """What the network of :func:`_hand_down` gives, by all bits of float32 values, in two turns.

    By the lower half of the bits, then by the upper half, equal ones in the order of the turn
    before. Levels are 1 for classes above the limit.
    """
    WIDTH: tl.constexpr = columns.shape[1]
    STRIDE: tl.constexpr = WIDTH + VECTOR
    ranks = rank_at(columns, WIDTH, VECTOR, THREADS)
    is_above = ranks < count[:, None]
    row_logits = logits + rows.to(tl.int64)[:, None] * NUM_CLASSES
    row_scratch = scratch + rows.to(tl.int64)[:, None] * STRIDE
    values = load_rows(
        logits, rows, is_row, -float('inf'), NUM_CLASSES, WIDTH, VECTOR, THREADS
    )  # fmt: skip
    packed = (keys_of(values) & 0xFFFF) * 32768 + WIDTH - 1 - columns
    packed = tl.where(values.to(tl.float32) > limit[:, None], packed, -1)
    for turn in range(2):
        packed = sort_descending(packed, VECTOR, THREADS)
        if turn == 0:
            order = _column_of(packed, WIDTH)
            store_rows(scratch, order, rows, is_row, STRIDE, VECTOR, THREADS)
            upper = keys_of(tl.load(row_logits + order, mask=is_above, other=0)) >> 16
            packed = tl.where(is_above, (upper + 32768) * 32768 + WIDTH - 1 - ranks, -1)
            tl.debug_barrier()
    before = position_of(_column_of(packed, WIDTH), WIDTH, VECTOR, THREADS)
    order = tl.load(row_scratch + before, mask=is_above, other=0)
    tl.debug_barrier()
    return tl.where(is_above, 2 * WIDTH - 1 - order, WIDTH - 1 - tl.maximum(label, 0)[:, None])


@triton.jit
def _hand_down(
    logits, scratch, rows, is_row, label, limit, count, columns, NUM_CLASSES: tl.constexpr,
    SOURCES: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """Write to ``scratch``, for each class above the limit, what the class is given.

    Nothing but the keys stays in registers while the network sorts them: a level and a column
    behind it; values are read again, from the cache. All that is not above the limit takes part as
    level 0 and the label's column, so that the last class is given the label's value. Arguments
    are those of :func:`sorted_tile`.

    Returns:
        (ROWS,): the class with the largest value.
    """
    WIDTH: tl.constexpr = columns.shape[1]
    HALF: tl.constexpr = logits.dtype.element_ty.primitive_bitwidth == 16
    values = load_rows(
        logits, rows, is_row, -float('inf'), NUM_CLASSES, WIDTH, VECTOR, THREADS
    )  # fmt: skip
    above = values.to(tl.float32) > limit[:, None]
    if HALF:
        levels = keys_of(values) - keys_of(limit.to(values.dtype))[:, None]
    else:
        levels = _coarse_levels(values, limit)
    packed = levels * WIDTH + WIDTH - 1 - columns
    others = WIDTH - 1 - tl.maximum(label, 0)[:, None]
    packed = tl.where(above, packed, others)
    packed = sort_descending(packed, VECTOR, THREADS)
    following = following_ranks(packed, VECTOR, THREADS)
    row_logits = logits + rows.to(tl.int64)[:, None] * NUM_CLASSES
    if not HALF:
        # Where levels are not fine enough to tell values apart the order may be wrong.
        is_close = ((packed ^ following) < WIDTH) & (packed >= WIDTH)
        if _any(is_close):
            this = tl.load(row_logits + _column_of(packed, WIDTH), mask=is_close, other=0)
            next_one = tl.load(row_logits + _column_of(following, WIDTH), mask=is_close, other=0)
            is_wrong = keys_of(this) < keys_of(next_one)
            if _any(is_wrong):
                packed = _sort_exactly(
                    logits, scratch, rows, is_row, label, limit, count, columns,
                    NUM_CLASSES, VECTOR, THREADS,
                )  # fmt: skip
                following = following_ranks(packed, VECTOR, THREADS)
    given = _column_of(following, WIDTH)
    if not SOURCES:
        given = tl.load(row_logits + given, mask=packed >= WIDTH, other=0)
        if HALF:
            given = given.to(tl.int16, bitcast=True).to(tl.int32)
        else:
            given = given.to(tl.int32, bitcast=True)
    row_scratch = scratch + rows.to(tl.int64)[:, None] * (WIDTH + VECTOR)
    tl.store(row_scratch + _column_of(packed, WIDTH), given, mask=packed >= WIDTH)
    return _column_of(tl.max(packed, axis=1), WIDTH)


@triton.jit
def _limit_of(own, count):
    """What values of a row (ROWS,) must be above to be moved: the label's, in rows that move."""
    return tl.where(count > 0, own.to(tl.float32), float('inf'))


@triton.jit
def sorted_tile(
    logits, scratch, rows, is_row, label, few, columns, NUM_CLASSES: tl.constexpr,
    SOURCES: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """The sorted rows of a tile, or with SOURCES the class whose value each class is given.

    Args:
        logits: the matrix, of 16 or 32 bits.
        scratch: int32 memory for as many rows of WIDTH + VECTOR numbers, which are aligned as
            the rows of ``logits`` are: the compiler takes one layout for both.
        rows: (ROWS,), which rows.
        is_row: (ROWS,), which of them there are.
        label: (ROWS,) int32; -1 for rows that are left alone.
        few: up to how many classes above the label are moved one by one.
        columns: (1, WIDTH) int32, from 0 on.
        NUM_CLASSES: C.
        SOURCES: what is wanted.
        VECTOR: neighbours in a thread.
        THREADS: lanes that share a row.
    """
    WIDTH: tl.constexpr = columns.shape[1]
    values = load_rows(
        logits, rows, is_row, -float('inf'), NUM_CLASSES, WIDTH, VECTOR, THREADS
    )  # fmt: skip
    row_logits = logits + rows.to(tl.int64) * NUM_CLASSES
    own = tl.load(row_logits + tl.maximum(label, 0), mask=label >= 0, other=float('inf'))
    result = columns + tl.zeros_like(values).to(tl.int32) if SOURCES else values
    wide = values.to(tl.float32)
    above = wide > own.to(tl.float32)[:, None]
    count = tl.sum(above.to(tl.int32), axis=1)
    most = _largest(count, columns)
    if most > 0:
        holds_nan = tl.max((wide != wide).to(tl.int32), axis=1)
        count = tl.where(holds_nan > 0, 0, count)
        most = _largest(count, columns)
        if most <= few:
            # The limit once for each branch: Triton 3.6 mixes up the layouts of one for both.
            limit = _limit_of(own, count)
            is_done = 0
            if not SOURCES:
                result, found = _mend_distinct(values, limit, label, count, most, columns)
                is_done = 1 - _largest((found < count).to(tl.int32), columns)
            if is_done == 0:
                values = load_rows(
                    logits, rows, is_row, -float('inf'), NUM_CLASSES, WIDTH, VECTOR, THREADS
                )  # fmt: skip
                result = _mend(values, limit, label, own, count, most, columns, SOURCES)
        else:
            limit = _limit_of(own, count)
            first = _hand_down(
                logits, scratch, rows, is_row, label, limit, count, columns,
                NUM_CLASSES, SOURCES, VECTOR, THREADS,
            )  # fmt: skip
            top = first if SOURCES else tl.load(row_logits + first, mask=count > 0, other=0)
            tl.debug_barrier()
            values = load_rows(
                logits, rows, is_row, -float('inf'), NUM_CLASSES, WIDTH, VECTOR, THREADS
            )  # fmt: skip
            given = load_rows(scratch, rows, is_row, 0, WIDTH + VECTOR, WIDTH, VECTOR, THREADS)
            above = values.to(tl.float32) > limit[:, None]
            if SOURCES:
                result = tl.where(above, given, columns)
            elif values.dtype.primitive_bitwidth == 16:
                result = tl.where(above, given.to(tl.int16).to(values.dtype, bitcast=True), values)
            else:
                result = tl.where(above, given.to(values.dtype, bitcast=True), values)
            at_label = (columns == label[:, None]) & (count > 0)[:, None]
            result = tl.where(at_label, top[:, None], result)
    return result


@triton.jit(do_not_specialize=['num_rows', 'ignore_index', 'few'])
def _sort_kernel(
    logits, labels, result, scratch, num_rows, ignore_index, few,
    NUM_CLASSES: tl.constexpr, IGNORE: tl.constexpr, SOURCES: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = rows < num_rows
    columns = tl.arange(0, WIDTH)[None, :]
    label = load_labels(labels, rows, is_row, NUM_CLASSES, ignore_index, IGNORE)
    found = sorted_tile(
        logits, scratch, rows, is_row, label, few, columns, NUM_CLASSES, SOURCES, VECTOR, THREADS
    )
    store_rows(result, found, rows, is_row, NUM_CLASSES, VECTOR, THREADS)


@triton.jit
def _digits(source, columns, inside, shift):
    """Two bits of the classes' keys, 0 where the value is largest, (SPAN,) int32.

    Beside them 1 in the one of four fields of 16 bits that a digit names, int64: sums
    of these count all four digits at once.
    """
    HALF: tl.constexpr = source.dtype.element_ty.primitive_bitwidth == 16
    keys = keys_of(tl.load(source + columns, mask=inside, other=0))
    descending = ~keys ^ (2**15 if HALF else -(2**31))  # without a sign
    digits = (descending >> shift) & 3
    return digits, tl.where(inside, tl.full((), 1, tl.int64) << (16 * digits).to(tl.int64), 0)


@triton.jit
def _sort_queue(source, queue, length, NUM_CLASSES: tl.constexpr, SPAN: tl.constexpr):
    """Order classes by descending value, equal ones as they are; returns where they are then.

    They are ``length`` of them at ``queue``, and go to NUM_CLASSES behind it and back: by two
    bits of all keys at a time, the lowest first.
    """
    span = tl.arange(0, SPAN)
    turned = 0
    for shift in range(0, source.dtype.element_ty.primitive_bitwidth, 2):
        at = queue + turned * NUM_CLASSES
        ones = tl.full((), 0, tl.int32)  # how many have which digit
        twos = ones
        threes = ones
        for start in range(0, length, SPAN):
            inside = start + span < length
            columns = tl.load(at + start + span, mask=inside, other=0)
            _, fields = _digits(source, columns, inside, shift)
            counts = tl.sum(fields, axis=0)
            ones += ((counts >> 16) & 0xFFFF).to(tl.int32)
            twos += ((counts >> 32) & 0xFFFF).to(tl.int32)
            threes += (counts >> 48).to(tl.int32)
        zeros = length - ones - twos - threes
        most = tl.maximum(tl.maximum(zeros, ones), tl.maximum(twos, threes))
        if most < length:
            other = queue + (1 - turned) * NUM_CLASSES
            first = tl.full((), 0, tl.int32)  # where the next class with which digit goes
            second = zeros
            third = zeros + ones
            fourth = zeros + ones + twos
            for start in range(0, length, SPAN):
                inside = start + span < length
                columns = tl.load(at + start + span, mask=inside, other=0)
                digits, fields = _digits(source, columns, inside, shift)
                before = tl.cumsum(fields, axis=0) - fields
                place = ((before >> (16 * digits).to(tl.int64)) & 0xFFFF).to(tl.int32)
                lower = tl.where(digits == 0, first, second)
                upper = tl.where(digits == 2, third, fourth)
                place += tl.where(digits < 2, lower, upper)
                tl.store(other + place, columns, mask=inside)
                counts = tl.sum(fields, axis=0)
                first += (counts & 0xFFFF).to(tl.int32)
                second += ((counts >> 16) & 0xFFFF).to(tl.int32)
                third += ((counts >> 32) & 0xFFFF).to(tl.int32)
                fourth += (counts >> 48).to(tl.int32)
            tl.debug_barrier()
            turned = 1 - turned
    return queue + turned * NUM_CLASSES


@triton.jit(do_not_specialize=['num_rows', 'ignore_index'])
def _wide_kernel(
    logits, labels, result, scratch, num_rows, ignore_index,
    NUM_CLASSES: tl.constexpr, IGNORE: tl.constexpr, SOURCES: tl.constexpr,
    SPAN: tl.constexpr, PIECE: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """Rows wider than registers hold, SPAN classes at once.

    While a row passes by and is copied, the classes above its label are gathered in memory;
    PIECE of them are sorted by the network, more by their digits; then they hand their values down.
    """
    span = tl.arange(0, SPAN)
    columns = tl.arange(0, PIECE)[None, :]
    rank = rank_at(columns, PIECE, VECTOR, THREADS)
    queue = scratch + tl.program_id(0).to(tl.int64) * (2 * NUM_CLASSES)
    first_row, programs = tl.program_id(0), tl.num_programs(0)
    for row in range(first_row, num_rows, programs):
        offset = tl.full((), NUM_CLASSES, tl.int64) * row
        source, target = logits + offset, result + offset
        rows = row + tl.arange(0, 1)
        only_one = load_labels(labels, rows, rows < num_rows, NUM_CLASSES, ignore_index, IGNORE)
        label = tl.max(only_one, axis=0)
        own = tl.load(source + tl.maximum(label, 0))
        own_key = keys_of(own)
        length = tl.full((), 0, tl.int32)
        num_nans = length
        for start in range(0, NUM_CLASSES, SPAN):
            places = start + span
            inside = places < NUM_CLASSES
            values = tl.load(source + places, mask=inside, other=0)
            plain = places if SOURCES else values
            tl.store(target + places, plain.to(result.dtype.element_ty), mask=inside)
            wide = values.to(tl.float32)
            above = (inside & (keys_of(values) > own_key) & (label >= 0)).to(tl.int32)
            found = tl.sum(above + ((inside & (wide != wide)).to(tl.int32) << 16), axis=0)
            num_nans += found >> 16
            if found > 0:
                at = length + tl.cumsum(above, axis=0) - above
                tl.store(queue + at, places, mask=above > 0)
                length += found & 0xFFFF
        if (length > 0) & (num_nans == 0):
            tl.debug_barrier()  # what was stored so far comes before what follows
            order = queue
            if length <= PIECE:
                is_there = columns < length
                column = tl.load(queue + columns, mask=is_there, other=0)
                keys = keys_of(tl.load(source + column, mask=is_there, other=0))
                packed = (keys.to(tl.int64) << 32) + (2**31 - 1 - column)
                packed = tl.where(is_there, packed, -(2**63))
                packed = sort_descending(packed, VECTOR, THREADS)
                tl.debug_barrier()
                column = 2**31 - 1 - (packed & (2**31 - 1)).to(tl.int32)
                tl.store(queue + rank, column, mask=rank < length)
                tl.debug_barrier()
            else:
                order = _sort_queue(source, queue, length, NUM_CLASSES, SPAN)
            for start in range(0, length, SPAN):
                inside = start + span < length
                column = tl.load(order + start + span, mask=inside, other=0)
                has_before = inside & (start + span > 0)
                takes = tl.load(order + start + span - 1, mask=has_before, other=0)
                takes = tl.where(has_before, takes, label)
                given = column if SOURCES else tl.load(source + column, mask=inside, other=0)
                tl.store(target + takes, given.to(result.dtype.element_ty), mask=inside)
            last = label if SOURCES else own
            tl.store(target + tl.load(order + length - 1), last.to(result.dtype.element_ty))
            tl.debug_barrier()


def launch_of(num_rows: int, num_classes: int, itemsize: int) -> dict[str, int]:
    """Shape of a program and its options.

    A warp holds a row of up to 1024 numbers, or several narrow ones where there
    are rows enough to keep the device busy; wider rows take more warps. The
    network, which few rows need, must not take the registers of all.

    Args:
        num_rows: N.
        num_classes: C.
        itemsize: bytes of a number; of two dtypes that share a tile the smaller, whose loads are
            those that the compiler lays the tile out for.
    """
    width = power_of_two(num_classes)
    vector = 16 // itemsize
    while num_classes % vector:
        vector //= 2
    vector = min(vector, width)
    warps = max(width // 1024, 1)
    threads = 32 * warps
    while threads > 1 and width // threads < 16 and num_rows * threads >= _BUSY:
        threads //= 2
    return {
        'few': 8 if width <= 256 else 16,
        'ROWS': max(32 // threads, 1),
        'WIDTH': width,
        'VECTOR': vector,
        'THREADS': threads,
        'num_warps': warps,
        'maxnreg': 96 if width // threads <= 16 else 168,
    }


def scratch_for(num_rows: int, shape: dict[str, int], device: torch.device) -> Tensor:
    """The memory that rows need which go through the network; untouched where none does."""
    stride = shape['WIDTH'] + shape['VECTOR']
    return torch.empty(num_rows * stride, dtype=torch.int32, device=device)


def sort_rows(
    logits: Tensor, labels: Tensor, ignore_index: int | None, sources: bool = False
) -> Tensor:
    """The sorted rows, or with ``sources`` the class whose value each class is given, int64.

    Logits have 16 or 32 bits; arguments are checked and on CUDA, N ≥ 1. A row
    whose label is out of range comes back as it is.
    """
    num_rows, num_classes = logits.shape
    logits, labels = logits.detach().contiguous(), labels.contiguous()
    dtype = torch.int64 if sources else logits.dtype
    result = torch.empty(logits.shape, dtype=dtype, device=logits.device)
    settings = {
        'NUM_CLASSES': num_classes,
        'IGNORE': ignore_index is not None,
        'SOURCES': sources,
    }
    numbers = (num_rows, ignore_index or 0)
    if num_classes > WIDEST:
        programs = min(num_rows, _WIDE_PROGRAMS)
        space = programs * 2 * num_classes
        scratch = torch.empty(space, dtype=torch.int32, device=logits.device)
        settings.update(SPAN=_SPAN, PIECE=_PIECE, VECTOR=2, THREADS=512, num_warps=16)
        launch(_wide_kernel, programs, (logits, labels, result, scratch, *numbers), settings)
    else:
        shape = launch_of(num_rows, num_classes, logits.element_size())
        few, scratch = shape.pop('few'), scratch_for(num_rows, shape, logits.device)
        programs = ceil_div(num_rows, shape['ROWS'])
        arguments = (logits, labels, result, scratch, *numbers, few)
        launch(_sort_kernel, programs, arguments, {**settings, **shape})
    return result


def check() -> None:
    """Raise unless the kernel gives on the device what it must give, class by class and sorted."""
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    labels = torch.tensor([3, 0], device='cuda')
    expected = torch.tensor([[0.0, 2.0, 1.0, 3.0], [4.0, 1.0, 2.0, 3.0]], device='cuda')
    if not torch.equal(sort_rows(logits, labels, None), expected):
        raise RuntimeError('the sort kernel gives wrong results on this device')
    logits = torch.arange(64.0, device='cuda')[None]
    expected = torch.cat([logits[:, -1:], logits[:, :-1]], dim=1)
    if not torch.equal(sort_rows(logits, torch.tensor([0], device='cuda'), None), expected):
        raise RuntimeError('the sort kernel gives wrong results on this device for many classes')

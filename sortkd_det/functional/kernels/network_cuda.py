"""A bitonic network that sorts the rows of a tile in registers, in Triton.

Its comparators are pairs of minimum and maximum. Keys that carry their own column may
enter the network in any order, so it compares most often along those bits of a position that lie
within a thread, and least along those that are reached by shuffles between lanes.
"""

import triton
import triton.language as tl
from triton.language.standard import xor_sum
from triton.runtime.jit import constexpr_function


@constexpr_function
def log2(number):
    """The logarithm of a power of two."""
    return number.bit_length() - 1


@constexpr_function
def _threads_of(width, vector, threads):
    """Among how many threads a row is shared."""
    return min(width // vector, threads)


@constexpr_function
def _axis_of(num_axes, width, vector, threads, bit):
    """The axis of the hypercube that the network takes for its bit ``bit``, 0 the lowest."""
    first = log2(vector)
    across = range(first, first + log2(_threads_of(width, vector, threads)))
    within = [position for position in range(log2(width)) if position not in across]
    return num_axes - 1 - [*within, *across][bit]


@triton.jit
def rank_at(positions, WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr):
    """The rank, from 0 on, of the key that :func:`sort_descending` leaves at each position."""
    SHARERS: tl.constexpr = _threads_of(WIDTH, VECTOR, THREADS)
    thread = (positions // VECTOR) % SHARERS
    within = positions % VECTOR + positions // (VECTOR * SHARERS) * VECTOR
    return within + thread * (WIDTH // SHARERS)


@triton.jit
def position_of(ranks, WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr):
    """The position at which :func:`sort_descending` leaves the key of each rank."""
    SHARERS: tl.constexpr = _threads_of(WIDTH, VECTOR, THREADS)
    thread = ranks // (WIDTH // SHARERS)
    within = ranks % (WIDTH // SHARERS)
    return within % VECTOR + thread * VECTOR + within // VECTOR * (VECTOR * SHARERS)


@triton.jit
def _sides(keys, VECTOR: tl.constexpr, THREADS: tl.constexpr, bit: tl.constexpr):
    """The bit ``bit`` of the rank of each number of a tile (ROWS, WIDTH)."""
    WIDTH: tl.constexpr = keys.shape[1]
    ranks = rank_at(tl.arange(0, WIDTH)[None, :], WIDTH, VECTOR, THREADS)
    return tl.broadcast_to((ranks >> bit) & 1, keys.shape)


@constexpr_function
def _is_across(width, vector, threads, bit):
    """Whether the bit ``bit`` of the network tells threads apart."""
    return bit >= log2(width) - log2(_threads_of(width, vector, threads))


@triton.jit
def _other(cube, axis: tl.constexpr):
    """The other number of each pair along ``axis``."""
    return cube ^ xor_sum(cube, axis, True)  # the compiler leaves the shuffle alone of this


@triton.jit
def _exchange(cube, axis: tl.constexpr, takes_larger):
    """Order each pair along ``axis``: the larger number to the one that takes it."""
    other = _other(cube, axis)
    return tl.where(takes_larger, tl.maximum(cube, other), tl.minimum(cube, other))


@triton.jit
def sort_descending(keys, VECTOR: tl.constexpr, THREADS: tl.constexpr):
    """Sort each row of ``keys`` (ROWS, WIDTH), integers; :func:`rank_at` tells a key's rank.

    Rows and widths are powers of two. A thread holds VECTOR neighbours, and the
    next ones lie in the next thread, up to THREADS of them: that is what the
    network is fast for; with another layout it is slower and as right.
    """
    num_axes: tl.constexpr = log2(keys.numel)
    WIDTH: tl.constexpr = keys.shape[1]
    for stage in tl.static_range(1, log2(WIDTH) + 1):
        ascends = tl.zeros_like(keys).to(tl.int32)
        flips = tl.zeros_like(keys)
        if stage < log2(WIDTH):
            # Threads that are to sort the other way do so with the complements of their keys.
            if _is_across(WIDTH, VECTOR, THREADS, stage):
                flips = -_sides(keys, VECTOR, THREADS, stage).to(keys.dtype)
            else:
                ascends = _sides(keys, VECTOR, THREADS, stage)
        keys ^= flips
        for step in tl.static_range(0, stage):
            larger = _sides(keys, VECTOR, THREADS, stage - 1 - step) == ascends
            cube = _exchange(
                tl.reshape(keys, [2] * num_axes),
                _axis_of(num_axes, WIDTH, VECTOR, THREADS, stage - 1 - step),
                tl.reshape(larger, [2] * num_axes),
            )
            keys = tl.reshape(cube, keys.shape)
        keys ^= flips
    return keys


@triton.jit
def following_ranks(keys, VECTOR: tl.constexpr, THREADS: tl.constexpr):
    """Beside each key that :func:`sort_descending` left the key of the rank behind it.

    Beside the last of a row stands any of its keys.
    """
    num_axes: tl.constexpr = log2(keys.numel)
    WIDTH: tl.constexpr = keys.shape[1]
    cube = tl.reshape(keys, [2] * num_axes)
    found = keys
    ends = tl.zeros_like(keys).to(tl.int32) + 1  # whether all lower bits of the rank are 1
    for bit in tl.static_range(0, log2(WIDTH)):
        side = _sides(keys, VECTOR, THREADS, bit)
        cube = _other(cube, _axis_of(num_axes, WIDTH, VECTOR, THREADS, bit))
        found = tl.where((ends & (1 - side)) != 0, tl.reshape(cube, keys.shape), found)
        ends = ends & side
    return found

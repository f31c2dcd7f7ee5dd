"""Rows of a matrix as tiles of a Triton program, in a layout that suits their width.

A tile (ROWS, WIDTH) is read and written as (ROWS, chunks, THREADS * VECTOR): so THREADS lanes share
a row, each with VECTOR neighbours of every chunk, and a warp holds 32 / THREADS rows. Sums and
maxima of narrow rows then take few shuffles, for several rows at once.
"""

import triton
import triton.language as tl


@triton.jit
def _places(WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr):
    """(1, chunks, span): the column of each number."""
    SPAN: tl.constexpr = min(THREADS * VECTOR, WIDTH)
    chunks = tl.arange(0, WIDTH // SPAN)[None, :, None] * SPAN
    return chunks + tl.arange(0, SPAN)[None, None, :]


@triton.jit
def load_rows(
    matrix, rows, is_row, other, NUM_CLASSES: tl.constexpr,
    WIDTH: tl.constexpr, VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """The tile (ROWS, WIDTH) of these rows (ROWS,); ``other`` where there is no number."""
    places = _places(WIDTH, VECTOR, THREADS)
    begins = rows.to(tl.int64)[:, None, None] * NUM_CLASSES
    inside = is_row[:, None, None] & (places < NUM_CLASSES)
    tile = tl.load(matrix + begins + places, mask=inside, other=other)
    return tl.reshape(tile, (rows.shape[0], WIDTH))


@triton.jit
def store_rows(
    matrix, tile, rows, is_row, NUM_CLASSES: tl.constexpr,
    VECTOR: tl.constexpr, THREADS: tl.constexpr,
):  # fmt: skip
    """Write a tile (ROWS, WIDTH) to these rows (ROWS,)."""
    WIDTH: tl.constexpr = tile.shape[1]
    places = _places(WIDTH, VECTOR, THREADS)
    begins = rows.to(tl.int64)[:, None, None] * NUM_CLASSES
    inside = is_row[:, None, None] & (places < NUM_CLASSES)
    shape: tl.constexpr = (rows.shape[0], places.shape[1], places.shape[2])
    numbers = tl.reshape(tile, shape).to(matrix.dtype.element_ty)
    tl.store(matrix + begins + places, numbers, mask=inside)

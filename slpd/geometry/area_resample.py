"""Exact area resampling of images: every output pixel is the mean of the input over its own footprint."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

BAND_PX = 64  # output rows that are computed together: their input stays in the processor's cache
BLOCK_PX = 8  # output pixels per matrix product, whose cost grows with their number, while its overhead falls
Rows = Callable[[int, int], NDArray[np.uint8]]  # first row, one after the last -> (h, width, 3)
PADDING = 16  # floats: a line of the cache


def area_resample(
    strips: Iterable[NDArray[np.uint8]], size_in: tuple[int, int], result: NDArray[np.uint8], threads: int = 1
) -> None:
    """Resample an image by area from horizontal strips, so that the input is never held whole.

    Args:
        strips: (rows, width, 3) pieces of the input, from top to bottom.
        size_in: Height and width of the input, px.
        result: (height, width, 3) image to fill, rounded to the nearest level.
        threads: Bands of the result that are computed at a time.
    """
    height, width = result.shape[:2]
    columns = column_blocks(size_in[1], width)
    tail, top, done = np.empty((0, size_in[1], 3), np.uint8), 0, 0  # rows that the next band needs, the first is `top`
    with ThreadPoolExecutor(threads) as pool:
        for strip in read_ahead(strips):
            begin, end = top + len(tail), top + len(tail) + len(strip)
            ready = end * height // size_in[0]

            def rows(
                first: int,
                last: int,
                tail: NDArray[np.uint8] = tail,
                strip: NDArray[np.uint8] = strip,
                begin: int = begin,
            ) -> NDArray[np.uint8]:
                inside = strip[max(0, first - begin) : max(0, last - begin)]
                return inside if first >= begin else np.concatenate([tail[len(tail) - (begin - first) :], inside])

            def band(first: int, rows: Rows = rows, ready: int = ready) -> None:
                wanted = (first, min(first + BAND_PX, ready))
                result[slice(*wanted)] = resampled_rows(rows, size_in[0], height, wanted, columns)

            list(pool.map(band, range(done, ready, BAND_PX)))
            done, top = ready, ready * size_in[0] // height
            tail = rows(top, end).copy()


def read_ahead(strips: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The strips, each decoded while the one before is resampled."""
    upcoming = iter(strips)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, upcoming, None)
        while (strip := following.result()) is not None:
            following = reader.submit(next, upcoming, None)
            yield strip


def resampled_rows(
    rows: Rows,
    n_in: int,
    n_out: int,
    wanted: tuple[int, int],
    columns: list[tuple[slice, NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """Output rows, rounded.

    Args:
        rows: Gives (h, width, 3) input rows, from the first to the one before the last.
        n_in: Rows of the whole input.
        n_out: Rows of the whole output.
        wanted: First output row and the one after the last.
        columns: Weights across, from `column_blocks`.

    Returns:
        (rows, width, 3) float32, 0 to 255.
    """
    top = wanted[0] * n_in // n_out
    needed = rows(top, -(-wanted[1] * n_in // n_out))
    flat = needed.reshape(len(needed), -1)
    # Rows a power of 2 long would share lines of the cache: they get a little more room than they need.
    tall = np.empty((wanted[1] - wanted[0], flat.shape[1] + PADDING), np.float32)[:, : flat.shape[1]]
    for first in range(*wanted, BLOCK_PX):
        last = min(first + BLOCK_PX, wanted[1])
        inputs, weights = overlaps(first, last, n_in, n_out)
        block = flat[inputs.start - top : inputs.stop - top].astype(np.float32)
        np.matmul(weights, block, out=tall[first - wanted[0] : last - wanted[0]])
    mean = np.concatenate([tall[:, inputs] @ weights for inputs, weights in columns], axis=1)
    rounded: NDArray[np.float32] = np.rint(mean, out=mean).reshape(len(mean), -1, 3)
    return rounded


def column_blocks(n_in: int, n_out: int) -> list[tuple[slice, NDArray[np.float32]]]:
    """Weights that average rows of interleaved colours across: values of the input, (values in, values out) weights."""
    blocks = []
    for first in range(0, n_out, BLOCK_PX):
        inputs, weights = overlaps(first, min(first + BLOCK_PX, n_out), n_in, n_out)
        colours = np.kron(weights.T, np.eye(3, dtype=np.float32))
        blocks.append((slice(inputs.start * 3, inputs.stop * 3), colours))
    return blocks


def overlaps(first: int, last: int, n_in: int, n_out: int) -> tuple[slice, NDArray[np.float32]]:
    """Weights that average `n_in` unit pixels into output pixels `first` to `last` of `n_out`.

    Returns:
        The input pixels that take part, and (last - first, their number) weights; every row sums to 1.
    """
    inputs = slice(first * n_in // n_out, -(-last * n_in // n_out))
    pixel = np.arange(inputs.start, inputs.stop) * n_out  # edges in units of 1 / n_out input pixels: whole numbers
    box = np.arange(first, last)[:, None] * n_in
    overlap = np.minimum(box + n_in, pixel + n_out) - np.maximum(box, pixel)
    weights: NDArray[np.float32] = (np.maximum(overlap, 0) / n_in).astype(np.float32)
    return inputs, weights

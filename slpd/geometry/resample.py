"""Exact area averaging: every output pixel is the mean of the input over its own footprint."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def box_weights(edges: NDArray[np.float64], n_in: int) -> csr_array:
    """Weights that average `n_in` unit pixels over boxes.

    Args:
        edges: (n_out + 1,) ascending positions in 0..n_in; box i spans edges[i] to edges[i + 1].
        n_in: Input pixels; pixel k spans k to k + 1.

    Returns:
        (n_out, n_in) float64, every row sums to 1: overlap of box and pixel over the box's length.
    """
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    counts = last - first
    box = np.repeat(np.arange(len(counts)), counts)
    pixel = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[box]
    overlap = np.minimum(edges[box + 1], pixel + 1) - np.maximum(edges[box], pixel)
    weights = overlap / (edges[box + 1] - edges[box])
    inside = pixel < n_in  # the last edge may exceed n_in by rounding
    return csr_array((weights[inside], (box[inside], pixel[inside])), shape=(len(counts), n_in))


def area_resample(
    strips: Iterable[NDArray[np.uint8]], size_in: tuple[int, int], size_out: tuple[int, int]
) -> NDArray[np.uint8]:
    """An image resampled by area from horizontal strips, so that the input is never held whole.

    Args:
        strips: (rows, width, 3) pieces of the input, from top to bottom.
        size_in: Height and width of the input, px.
        size_out: Height and width of the result, px.

    Returns:
        (height, width, 3) image, rounded to the nearest level.
    """
    rows = box_weights(np.linspace(0, size_in[0], size_out[0] + 1), size_in[0]).astype(np.float32).tocsc()
    columns = box_weights(np.linspace(0, size_in[1], size_out[1] + 1), size_in[1]).astype(np.float32)
    mean = np.zeros((size_out[0], size_out[1] * 3), np.float32)
    top = 0
    for strip in strips:
        bottom = top + len(strip)
        touched = slice(int(top * size_out[0] / size_in[0]), int(np.ceil(bottom * size_out[0] / size_in[0])))
        weights = rows[:, top:bottom].tocsr()[touched]
        across = columns @ strip.transpose(1, 0, 2).reshape(size_in[1], -1).astype(np.float32)  # (width, rows * 3)
        across = across.reshape(size_out[1], -1, 3).transpose(1, 0, 2).reshape(len(strip), -1)  # (rows, width * 3)
        mean[touched] += weights @ across
        top = bottom
    return np.rint(mean, out=mean).astype(np.uint8).reshape(*size_out, 3)

"""Weights of exact area averages along an axis."""

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

"""Neighbourhoods in pictures whose resolution is known."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]  # (h, w)
Density = NDArray[np.float32]  # (h, w) optical density: 0 (white) to 2.4 (black)


def window_px(length_um: float, mpp: float) -> int:
    """The odd number of pixels, at least 3, that is nearest to a length."""
    return 2 * max(1, round((length_um / mpp - 1) / 2)) + 1


def local_deviation(image: Density, side: int) -> Density:
    """Standard deviation of an (h, w) image in the square of `side` pixels around each pixel."""
    mean = ndimage.uniform_filter(image, side)
    square = ndimage.uniform_filter(image * image, side)
    deviation: Density = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation


def reached(area: Mask, seeds: Mask) -> Mask:
    """The seeds, and the connected pieces of `area` that some seed touches."""
    pieces, n_pieces = ndimage.label(area | seeds)
    touched: Mask = np.bincount(pieces[seeds], minlength=n_pieces + 1).astype(bool)[pieces]
    return touched

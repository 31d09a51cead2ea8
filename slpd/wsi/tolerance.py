"""How far a decoder on a GPU may be from a CPU's: it rounds otherwise, and enlarges colours of half resolution so."""

import numpy as np
from numpy.typing import NDArray

MEAN_LEVELS = 0.5  # grey levels, of the mean difference of a tile, which is below
MOST_LEVELS = 4  # grey levels, of the largest difference of a value


def stated(reader: str) -> str:
    """What holds of pixels that were compared with those of a reader."""
    return f"below {MEAN_LEVELS} grey levels from {reader} in the mean, at most {MOST_LEVELS}"


def are_near(pixels: NDArray[np.generic], expected: NDArray[np.uint8]) -> bool:
    """Whether two readings of a tile, (height, width, 3), are within the tolerance."""
    difference = np.abs(pixels.astype(np.float32) - expected)
    return bool(difference.mean() < MEAN_LEVELS and difference.max() <= MOST_LEVELS)

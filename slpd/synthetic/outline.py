"""The irregular outline of tissue on glass."""

import numpy as np
from numpy.typing import NDArray

from slpd.synthetic.noise import smooth_noise

HARMONICS = 7


def tissue_outline(shape: tuple[int, int], fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) mask of tissue that covers `fraction` (0-1) of a picture and never touches its border."""
    height, width = shape
    score = outline_score(shape, rng)
    edge = np.minimum(*np.meshgrid(border_distance(width), border_distance(height)))  # px to the nearest border
    score[edge < 0.02 * width] = -np.inf
    chosen: NDArray[np.bool_] = score > np.quantile(score, 1 - fraction)
    return chosen


def outline_score(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """(H, W) score that is high in one or two pieces of tissue; any threshold gives an irregular outline."""
    width = shape[1]
    split = rng.uniform(0.4, 0.6) if rng.random() < 0.4 else 1.0
    pieces = [(0.0, split), (split, 1.0)] if split < 1 else [(0.0, 1.0)]
    score = np.max([piece_score(shape, left * width, right * width, rng) for left, right in pieces], axis=0)
    frayed: NDArray[np.float64] = score + 0.03 * smooth_noise(shape, 0.02 * width, rng)
    return frayed


def border_distance(length: int) -> NDArray[np.intp]:
    """Pixels from each place of a line to its nearer end."""
    places = np.arange(length)
    return np.minimum(places, length - 1 - places)


def piece_score(shape: tuple[int, int], left: float, right: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(H, W) score of one piece between two columns: 1 in its middle, falling outwards to 0 at a wavy contour."""
    height, width = shape
    x = (np.arange(width) - (left + right) / 2) / ((right - left) / 2)
    y = (np.arange(height)[:, None] - height / 2) / (height / 2)
    radius = (np.abs(x) ** 3 + np.abs(y) ** 3) ** (1 / 3)  # between an ellipse and a rectangle
    angle = np.arctan2(y, x)
    contour = np.ones(shape)
    for harmonic in range(2, HARMONICS + 1):
        contour += rng.normal(0, 0.16 / harmonic) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    score: NDArray[np.float64] = 1 - radius / np.maximum(contour, 0.3)
    return score

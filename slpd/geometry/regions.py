"""Where regions lie: the regular grid over a slide, and how much of its cells a mask covers."""

import numpy as np
from numpy.typing import NDArray


def area_shares(mask: NDArray[np.bool_], width_lv0: int, height_lv0: int, region_lv0: int) -> NDArray[np.float64]:
    """Share of a mask in every region of the grid that begins at the slide's upper left corner.

    Only regions wholly inside the slide are in the grid.

    Args:
        mask: (h, w) over the whole slide, at any resolution.
        width_lv0: Width of the slide, level-0 pixels.
        height_lv0: Height of the slide, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.

    Returns:
        (rows, columns) exact area averages of the mask, 0 to 1; an axis is 0 where the slide is too small.
    """
    rows = box_means(mask.astype(np.float64), grid_edges(height_lv0, region_lv0, mask.shape[0]))
    return box_means(rows.T, grid_edges(width_lv0, region_lv0, mask.shape[1])).T


def grid_edges(length_lv0: int, region_lv0: int, length_mask: int) -> NDArray[np.float64]:
    """Where the whole regions along an axis begin and end, mask pixels."""
    return np.arange(length_lv0 // region_lv0 + 1, dtype=np.float64) * (region_lv0 * length_mask / length_lv0)


def box_means(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of unit pixels over boxes along the first axis.

    Args:
        values: (n, m); pixel k spans k to k + 1.
        edges: (boxes + 1,) ascending positions in 0 to n, which the last may exceed by rounding.

    Returns:
        (boxes, m).
    """
    before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])  # sum of all pixels before one
    pixel = np.minimum(edges.astype(int), len(values) - 1)
    sums = before[pixel] + (edges - pixel)[:, None] * values[pixel]
    means: NDArray[np.float64] = np.diff(sums, axis=0) / np.diff(edges)[:, None]
    return means

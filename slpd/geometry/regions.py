"""Where regions lie: their size in level-0 pixels, the regular grid over a slide, tissue shares of its cells."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from slpd.geometry.resample import box_weights


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
    rows = grid_weights(height_lv0, region_lv0, mask.shape[0])
    columns = grid_weights(width_lv0, region_lv0, mask.shape[1])
    shares: NDArray[np.float64] = (columns @ (rows @ mask.astype(np.float64)).T).T
    return shares


def grid_weights(length_lv0: int, region_lv0: int, length_mask: int) -> csr_array:
    """(n, length_mask) weights that average a mask's axis over the n whole regions along that axis."""
    n = length_lv0 // region_lv0
    edges = np.arange(n + 1, dtype=np.float64) * region_lv0 * length_mask / length_lv0
    return box_weights(edges, length_mask)

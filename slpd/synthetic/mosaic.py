"""A slide laid out of tiles: plain copies on a grid, inside an irregular outline on glass."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from slpd.synthetic.noise import resize, smooth_noise
from slpd.synthetic.outline import outline_score

FILL = 0.62  # share of the grid's cells that hold a tile
GLASS = 243  # grey value


def lay_mosaic(
    tiles: list[NDArray[np.uint8]], benign: list[NDArray[np.uint8]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a slide in which every tile lies once; benign tiles lie together.

    Args:
        tiles: (t, t, 3) each.
        benign: (t, t, 3) each.
        rng: Source of outline and order.
    """
    tile_px = tiles[0].shape[0]
    cells = grid_cells(len(tiles) + len(benign), rng)
    rows, columns = np.nonzero(cells)
    anchor = rng.integers(len(rows))
    from_anchor = np.argsort(np.hypot(rows - rows[anchor], columns - columns[anchor]), kind="stable")
    ordered = [benign[i] for i in rng.permutation(len(benign))] + [tiles[i] for i in rng.permutation(len(tiles))]
    rgb = np.full((cells.shape[0] * tile_px, cells.shape[1] * tile_px, 3), GLASS, np.uint8)
    for cell, tile in zip(from_anchor, ordered, strict=True):
        y, x = rows[cell] * tile_px, columns[cell] * tile_px
        rgb[y : y + tile_px, x : x + tile_px] = tile
    rgb[~rounded(cells, tile_px, rng)] = GLASS
    noise = np.rint(rng.normal(0, 1, rgb.shape[:2])).astype(np.int16)  # of the sensor, on glass only: tiles have theirs
    glass = (rgb == GLASS).all(axis=2)
    rgb[glass] = (GLASS + noise[glass, None]).astype(np.uint8)
    return rgb


def grid_cells(n_tiles: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(rows, columns) cells that hold a tile, `n_tiles` of them, in an irregular outline; the border is glass."""
    rows = math.ceil(math.sqrt(n_tiles / FILL))
    columns = math.ceil(n_tiles / FILL / rows)
    score = outline_score((rows, columns), rng)
    cells = np.zeros(score.size, bool)
    cells[np.argsort(-score, axis=None, kind="stable")[:n_tiles]] = True
    return np.pad(cells.reshape(rows, columns), 1)


def rounded(cells: NDArray[np.bool_], tile_px: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) pixels of the cells that are tissue: the corners of the outline are worn off."""
    coarse = np.kron(cells, np.ones((16, 16))).astype(np.float32)  # 16 x 16 places per tile
    worn = gaussian_filter(coarse, 4) + 0.08 * smooth_noise(coarse.shape, 4, rng)
    size_px = (cells.shape[0] * tile_px, cells.shape[1] * tile_px)
    return (resize(worn, size_px) > 0.42) & np.kron(cells, np.ones((tile_px, tile_px), bool))

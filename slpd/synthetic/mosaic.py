"""A slide laid out of tiles: plain copies on a grid, in an irregular outline on glass."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from slpd.artifacts.slides.known_kinds import Square
from slpd.synthetic.noise import resize, smooth_noise
from slpd.synthetic.outline import outline_score

FILL = 0.65  # share of the grid's cells that hold a tile
PLACES = 16  # a side of a cell is divided into, to draw the outline
GLASS = 243  # grey value


def lay_mosaic(
    tiles: Mapping[str, Sequence[NDArray[np.uint8]]], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Square]]:
    """(H, W, 3) RGB of a slide in which every tile lies once and tiles of a kind lie together, and where they lie.

    Args:
        tiles: Kind -> (t, t, 3) each.
        rng: Source of outline and order.
    """
    ordered = [
        (kind, tiles[kind][i]) for kind in rng.permutation(list(tiles)) for i in rng.permutation(len(tiles[kind]))
    ]
    tile_px = len(ordered[0][1])
    cells = grid_cells(len(ordered), rng)
    rows, columns = np.nonzero(cells)
    anchor = rng.integers(len(rows))
    from_anchor = np.argsort(np.hypot(rows - rows[anchor], columns - columns[anchor]), kind="stable")
    rgb = np.zeros((cells.shape[0] * tile_px, cells.shape[1] * tile_px, 3), np.uint8)
    squares = []
    for cell, (kind, tile) in zip(from_anchor, ordered, strict=True):
        y, x = int(rows[cell]) * tile_px, int(columns[cell]) * tile_px
        rgb[y : y + tile_px, x : x + tile_px] = tile
        squares.append(Square(x, y, tile_px, str(kind)))
    return on_glass(rgb, rounded(cells, tile_px, rng), rng), squares


def on_glass(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """`rgb` (H, W, 3) where `tissue` (H, W) is true, elsewhere glass under a sensor with a little noise."""
    noise = rng.standard_normal(tissue.shape, dtype=np.float32)
    glass = np.rint(GLASS + noise).astype(np.uint8)
    return np.where(tissue[..., None], rgb, glass[..., None])


def grid_cells(n_tiles: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(rows, columns) cells that hold a tile, `n_tiles` of them, in an irregular outline; the border is glass."""
    rows = math.ceil(math.sqrt(n_tiles / FILL))
    columns = math.ceil(n_tiles / FILL / rows)
    fine = gaussian_filter(outline_score((rows * PLACES, columns * PLACES), rng), PLACES)  # few lone tiles stick out
    score = fine.reshape(rows, PLACES, columns, PLACES).mean(axis=(1, 3))
    cells = np.zeros(score.size, bool)
    cells[np.argsort(-score, axis=None, kind="stable")[:n_tiles]] = True
    return np.pad(cells.reshape(rows, columns), 1)


def rounded(cells: NDArray[np.bool_], tile_px: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) pixels of the cells that are tissue: the corners of the outline are worn off."""
    places = enlarged_cells(cells, PLACES)
    worn = gaussian_filter(places.astype(np.float32), 5) + 0.08 * smooth_noise(places.shape, 4, rng)
    inside = enlarged_cells(cells, tile_px)
    kept: NDArray[np.bool_] = (resize(worn, inside.shape) > 0.45) & inside
    return kept


def enlarged_cells(cells: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """(rows · side, columns · side) mask in which every cell is a square."""
    return cells.repeat(side, axis=0).repeat(side, axis=1)

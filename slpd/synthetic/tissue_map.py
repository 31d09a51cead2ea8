"""Where each kind of tissue lies in a procedural slide."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from slpd.settings.synthetic import Kind
from slpd.synthetic.noise import Field, smooth_noise
from slpd.synthetic.phenotypes import NAMES

Mask = NDArray[np.bool_]


def arrange(
    tissue: Mask, shares: Mapping[Kind, float], territory_cells: float, parcel_cells: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(H, W) number of the kind (its place in `NAMES`) of every cell; glass is numbered too, to be masked.

    Args:
        tissue: (H, W) cells that are tissue.
        shares: Kind -> share of the parcels that hold tissue; they sum to 1.
        territory_cells: Over how many cells the territories of a kind are correlated.
        parcel_cells: Side of a parcel, the squares that hold one kind each.
        rng: Source of the arrangement.
    """
    left = parcels_with_tissue(tissue, parcel_cells)
    kind = np.zeros(left.shape, np.uint8)
    counts = np.diff(np.rint(np.cumsum([0, *shares.values()]) * np.count_nonzero(left))).astype(int)
    for name, count in zip(shares, counts.tolist(), strict=True):
        chosen = highest(smooth_noise(left.shape, territory_cells / parcel_cells, rng), left, count)
        kind[chosen] = NAMES.index(name)
        left &= ~chosen
    return kind.repeat(parcel_cells, axis=0).repeat(parcel_cells, axis=1)[: tissue.shape[0], : tissue.shape[1]]


def parcels_with_tissue(tissue: Mask, side: int) -> Mask:
    """(rows, columns) parcels of `side` cells that hold any of the tissue (H, W)."""
    padded = np.pad(tissue, [(0, -length % side) for length in tissue.shape])
    return np.asarray(padded.reshape(padded.shape[0] // side, side, -1, side).any(axis=(1, 3)))


def highest(score: Field, within: Mask, count: int) -> Mask:
    """The `count` cells of `within` that score highest."""
    chosen = np.zeros_like(within)
    candidates = np.flatnonzero(within)
    chosen.flat[candidates[np.argsort(-score[within], kind="stable")[:count]]] = True
    return chosen

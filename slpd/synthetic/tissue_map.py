"""Where each kind of tissue lies in a procedural slide."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from slpd.settings.synthetic import Kind
from slpd.synthetic.noise import Field, smooth_noise
from slpd.synthetic.phenotypes import NAMES

Mask = NDArray[np.bool_]


def arrange(
    tissue: Mask, shares: Mapping[Kind, float], territory_cells: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(H, W) number of the kind (its place in `NAMES`) of every cell; glass is numbered too, to be masked.

    Args:
        tissue: (H, W) cells that are tissue.
        shares: Kind -> share of the tissue; they sum to 1.
        territory_cells: Over how many cells the territories of a kind are correlated.
        rng: Source of the arrangement.
    """
    kind, left = np.zeros(tissue.shape, np.uint8), tissue.copy()
    counts = np.diff(np.rint(np.cumsum([0, *shares.values()]) * np.count_nonzero(tissue))).astype(int)
    for name, count in zip(shares, counts.tolist(), strict=True):
        chosen = highest(smooth_noise(tissue.shape, territory_cells, rng), left, count)
        kind[chosen] = NAMES.index(name)
        left &= ~chosen
    return kind


def highest(score: Field, within: Mask, count: int) -> Mask:
    """The `count` cells of `within` that score highest."""
    chosen = np.zeros_like(within)
    candidates = np.flatnonzero(within)
    chosen.flat[candidates[np.argsort(-score[within], kind="stable")[:count]]] = True
    return chosen

"""Regions of patches that another program placed: `side` x `side` places of a lattice, some of them empty.

A lattice is all places that lie whole steps apart. TRIDENT lays one over a slide, from its corner. CLAM lays one over
every contour, from the contour's corner: the lattices of a slide then differ in phase, which is corner modulo step.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

ABSENT = -1


class PatchRegions(NamedTuple):
    """N regions with patches enough, by lattice, row and column."""

    corners: NDArray[np.int64]  # (N, 2) x, y of the upper left corner, level-0 pixels
    patches: NDArray[np.int64]  # (N, side * side) which patch stands at each place, row by row; -1: none
    n_excluded: int  # regions with fewer


def lattice_step(corners: NDArray[np.int64]) -> int | None:
    """The most frequent distance between neighbours in a row or column; None: no two patches share one.

    Args:
        corners: (n, 2) of patches, all different.
    """
    steps = np.concatenate([neighbour_distances(corners[:, ::order]) for order in (1, -1)])
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()]) if len(values) else None


def neighbour_distances(corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distances of (n, 2) places along the first axis to the next one with the same second coordinate."""
    line = corners[np.lexsort(corners.T)]
    same = line[1:, 1] == line[:-1, 1]
    distances: NDArray[np.int64] = np.diff(line[:, 0])[same]
    return distances


def n_overlapping(corners: NDArray[np.int64], step: int) -> int:
    """How many patches lie partly on another one; those of one lattice touch each other at most.

    Args:
        corners: (n, 2) of patches, all different.
        step: Their side, level-0 pixels.
    """
    distances, _ = cKDTree(corners).query(corners, k=[2], p=np.inf, distance_upper_bound=step)
    return int(np.isfinite(distances).sum())


def group_patches(corners: NDArray[np.int64], step: int, side: int, min_share: float) -> PatchRegions:
    """Put patches on their lattices and cut these into regions.

    A lattice through the slide's corner is cut from there, as `tile_regions` cuts a slide; any other from its own
    first row and column, where CLAM's contours begin.

    Args:
        corners: (n, 2) x, y of patches, level-0 pixels, all different and not negative.
        step: Distance between neighbours, level-0 pixels.
        side: Patches along a region's side.
        min_share: Least share of a region's places with a patch; one patch is needed at least.
    """
    phases, lattice = np.unique(corners % step, axis=0, return_inverse=True)
    cells = corners // step
    first = np.full_like(phases, np.iinfo(np.int64).max)
    np.minimum.at(first, lattice, cells)
    first[~phases.any(axis=1)] = 0
    region, place = np.divmod(cells - first[lattice], side)  # (n, 2) each
    keys, number = np.unique(np.column_stack([lattice, region[:, ::-1]]), axis=0, return_inverse=True)
    patches = np.full((len(keys), side**2), ABSENT, np.int64)
    patches[number, place[:, 1] * side + place[:, 0]] = np.arange(len(corners))
    kept = (patches != ABSENT).sum(axis=1) >= min_share * side**2
    of, row_column = keys[kept, 0], keys[kept, 1:]
    corner = (row_column[:, ::-1] * side + first[of]) * step + phases[of]
    return PatchRegions(corner, patches[kept], int((~kept).sum()))

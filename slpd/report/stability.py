"""How the regions of a slide moved between prototypes from iteration to iteration.

Every iteration numbers its prototypes anew, so numbers cannot be compared. Two measures do not need them: the share of
regions that moved once the prototypes of two successive iterations are matched one to one so that as few as possible
move (Hungarian algorithm, Kuhn 1955), and the adjusted Rand index of the two groupings (Hubert and Arabie 1985), which
is 1 for equal groupings and 0 on average for unrelated ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Stability:
    """Of every slide and every two successive groupings; nan in slides without prototypes."""

    moved: NDArray[np.float64]  # (S, T) share of regions, 0 to 1 - 1 / M
    rand_index: NDArray[np.float64]  # (S, T) adjusted Rand index, about -0.5 to 1


def stability(groupings: NDArray[np.int16], offsets: NDArray[np.int64]) -> Stability:
    """The movement between successive groupings.

    Args:
        groupings: (T + 1, R) prototype of each region, -1 in slides that have none.
        offsets: (S + 1,) slide s holds regions offsets[s] to offsets[s + 1].
    """
    n_groups = int(groupings.max(initial=0)) + 1
    T, S = max(len(groupings) - 1, 0), len(offsets) - 1
    moved, rand_index = np.full((S, T), np.nan), np.full((S, T), np.nan)
    for slide in range(S):
        of_slide = groupings[:, offsets[slide] : offsets[slide + 1]].astype(np.int64)
        if of_slide.size and of_slide.min() >= 0:
            tables = contingency(of_slide, n_groups)
            moved[slide], rand_index[slide] = moved_shares(tables), adjusted_rand(tables)
    return Stability(moved, rand_index)


def contingency(groupings: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Regions in group k before and group l after: (T, M, M), of (T + 1, n) groupings."""
    T, M = len(groupings) - 1, n_groups
    cells = (np.arange(T)[:, None] * M + groupings[:-1]) * M + groupings[1:]
    return np.bincount(cells.ravel(), minlength=T * M * M).reshape(T, M, M)


def moved_shares(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of regions that moved, (T,), after the matching under which fewest do."""
    stayed = [table[linear_sum_assignment(table, maximize=True)].sum() for table in tables]
    return np.asarray(1 - np.array(stayed, np.float64) / tables.sum((1, 2)))


def adjusted_rand(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """The adjusted Rand index, (T,); 1 where both groupings have one group, or each region is its of_slide."""

    def pairs(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(counts * (counts - 1) / 2, np.float64)

    together = pairs(tables).sum((1, 2))
    before, after = pairs(tables.sum(2)).sum(1), pairs(tables.sum(1)).sum(1)
    chance = before * after / np.maximum(pairs(tables.sum((1, 2))), 1)
    possible = (before + after) / 2 - chance
    return np.asarray(np.where(possible > 0, (together - chance) / np.where(possible > 0, possible, 1), 1.0))

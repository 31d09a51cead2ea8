"""How far the prototypes of a slide agree with the kinds of tissue that are known of its regions.

Adjusted mutual information (Vinh, Epps and Bailey 2010) needs no matching of prototypes to kinds: it is 1 where the
groups are equal, and 0 on average where they have nothing to do with each other.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score

from slpd.artifacts.slides.known_kinds import Square

UNKNOWN = ""


def region_kinds(corners: NDArray[np.int64], side_lv0: int, squares: Sequence[Square]) -> list[str]:
    """The main kind of each of n regions, `UNKNOWN` where no square has its centre.

    Args:
        corners: (n, 2) x, y of the upper left corners of regions, level-0 pixels.
        side_lv0: Side of a region, level-0 pixels.
        squares: All squares of the slide.
    """
    if not squares:
        return [UNKNOWN] * len(corners)
    centres = np.array([(square.x_lv0 + square.side_lv0 / 2, square.y_lv0 + square.side_lv0 / 2) for square in squares])
    areas = np.array([float(square.side_lv0) ** 2 for square in squares])
    names, codes = np.unique([square.kind for square in squares], return_inverse=True)
    kinds = []
    for corner in corners:
        inside = ((centres >= corner) & (centres < corner + side_lv0)).all(axis=1)
        covered = np.bincount(codes[inside], areas[inside], minlength=len(names))
        kinds.append(str(names[covered.argmax()]) if inside.any() else UNKNOWN)
    return kinds


def kind_agreement(
    groupings: NDArray[np.int16], offsets: NDArray[np.int64], kinds: Sequence[str]
) -> NDArray[np.float64]:
    """(S, T) adjusted mutual information of prototypes and kinds in every slide; nan where either is not known.

    Args:
        groupings: (T, R) prototype of each region; -1 in slides that have none.
        offsets: (S + 1,) slide s holds regions offsets[s] to offsets[s + 1].
        kinds: (R,) kinds; regions of `UNKNOWN` are left out.
    """
    names = np.array(kinds)
    agreement = np.full((len(offsets) - 1, len(groupings)), np.nan)
    for slide, (start, stop) in enumerate(pairwise(offsets)):
        known = names[start:stop] != UNKNOWN
        of_slide = groupings[:, start:stop][:, known]
        if known.any() and of_slide.min() >= 0:
            agreement[slide] = [adjusted_mutual_info_score(names[start:stop][known], group) for group in of_slide]
    return agreement

"""Which prototypes each region is pulled to: its own (intra) and the corresponding ones (inter)."""

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.prototypes import CohortPrototypes
from slpd.artifacts.slide_graph import SlideGraphArrays


def intra_targets(content: CohortPrototypes) -> NDArray[np.int64]:
    """(1, R) the prototype each region is assigned to, as a row of the flattened (S * M, D) prototypes; -1: none."""
    assigned = content.assignments.astype(np.int64)
    M = content.prototypes.shape[1]
    return np.where(assigned >= 0, slide_of_regions(content) * M + assigned, -1)[None]


def inter_targets(content: CohortPrototypes, graph: SlideGraphArrays) -> NDArray[np.int64]:
    """(T, R) for each neighbour of a region's slide, the prototype that corresponds to the region's own; -1: none.

    Rows of the flattened (S * M, D) prototypes. T is at most the graph's K: a rank of neighbours that no slide
    has is left out.
    """
    M = content.prototypes.shape[1]
    slide, assigned = slide_of_regions(content), content.assignments
    neighbour = graph.neighbours[slide].T.astype(np.int64)  # (K, R)
    corresponding = graph.correspondence[slide, :, assigned].T  # (K, R)
    targets = np.where((neighbour >= 0) & (assigned >= 0), neighbour * M + corresponding, -1)
    return targets[(targets >= 0).any(axis=1)]


def slide_of_regions(content: CohortPrototypes) -> NDArray[np.int64]:
    """(R,) the index of each region's slide."""
    return np.repeat(np.arange(len(content.slides)), np.diff(content.offsets))

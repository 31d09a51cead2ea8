"""Which prototypes a region is pulled to, on a cohort worked by hand."""

import numpy as np

from slpd.artifacts.prototypes import CohortPrototypes
from slpd.artifacts.slide_graph import SlideGraphArrays
from slpd.method.prototype_targets import inter_targets, intra_targets

# Slides 0, 1, 2 with 2, 1, 2 regions and 2 prototypes each; slide 1 is not kept.
CONTENT = CohortPrototypes(
    prototypes=np.zeros((3, 2, 4), np.float32),
    kept=np.array([True, False, True]),
    assignments=np.array([1, 0, -1, 0, 1], np.int16),
    offsets=np.array([0, 2, 3, 5]),
    slides=["a", "b", "c"],
)
NONE = [-1, -1]
GRAPH = SlideGraphArrays(
    neighbours=np.array([[2, -1], [-1, -1], [0, -1]], np.int32),
    similarity=np.zeros((3, 2), np.float32),
    correspondence=np.array([[[1, 0], NONE], [NONE, NONE], [[0, 0], NONE]], np.int32),
    slides=["a", "b", "c"],
)


def test_intra_is_the_regions_own_assignment() -> None:
    assert intra_targets(CONTENT).tolist() == [[1, 0, -1, 4, 5]]


def test_inter_is_the_corresponding_prototype_of_the_neighbour() -> None:
    """Region 0 has prototype 1, which corresponds to prototype 0 of slide 2: row 2 * 2 + 0. Rank 2 is empty."""
    assert inter_targets(CONTENT, GRAPH).tolist() == [[4, 5, -1, 0, 0]]

"""What each region of a cohort is pulled to under each term: its own prototype (intra), corresponding ones (inter)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.settings.training import INTER, INTRA, Objective, Term


class RegionTargets(NamedTuple):
    """The targets of every region under one term."""

    vectors: NDArray[np.float32]  # (N, D) of the features that were clustered
    rows: NDArray[np.int64]  # (T, R) which of the vectors are a region's targets; -1: none


def own_prototypes(content: CohortPrototypes, graph: SlideGraphArrays | None) -> RegionTargets:
    """The prototype that each region is assigned to; T = 1."""
    assigned = content.assignments.astype(np.int64)
    M = content.prototypes.shape[1]
    rows = np.where(assigned >= 0, slide_of_regions(content) * M + assigned, -1)[None]
    return RegionTargets(flat(content.prototypes), rows)


def corresponding_prototypes(content: CohortPrototypes, graph: SlideGraphArrays | None) -> RegionTargets:
    """For each neighbour of a region's slide, the prototype that corresponds to the region's own.

    T is at most the graph's K: neighbour ranks that no slide has are left out.
    """
    assert graph is not None, "a term that needs a slide graph has one"
    M = content.prototypes.shape[1]
    slide, assigned = slide_of_regions(content), content.assignments
    neighbour = graph.neighbours[slide].T.astype(np.int64)  # (K, R)
    corresponding = graph.correspondence[slide, :, assigned].T  # (K, R)
    rows = np.where((neighbour >= 0) & (assigned >= 0), neighbour * M + corresponding, -1)
    return RegionTargets(flat(content.prototypes), rows[(rows >= 0).any(axis=1)])


TARGETS: dict[Term, Callable[[CohortPrototypes, SlideGraphArrays | None], RegionTargets]] = {
    INTRA: own_prototypes,
    INTER: corresponding_prototypes,
}


def region_targets(
    objective: Objective, content: CohortPrototypes, graph: SlideGraphArrays | None
) -> dict[Term, RegionTargets]:
    """The targets of every term of an objective that needs prototypes."""
    return {term: TARGETS[term](content, graph) for term in objective.terms if term.needs != "nothing"}


def slide_of_regions(content: CohortPrototypes) -> NDArray[np.int64]:
    """(R,) the index of each region's slide."""
    return np.repeat(np.arange(len(content.slides)), np.diff(content.offsets))


def flat(prototypes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S, M, D) -> (S * M, D)."""
    return prototypes.reshape(-1, prototypes.shape[-1])

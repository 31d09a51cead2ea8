"""The slide graph: each slide's most similar slides, and which prototypes correspond (SLPD, Yu et al. 2023).

The similarity of two slides is the largest sum of cosines over all one-to-one matchings of their
prototypes (optimal assignment), between -M and M, unchanged by any reordering of prototypes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from slpd.artifacts.prototypes import CohortPrototypes
from slpd.artifacts.slide_graph import SlideGraphArrays
from slpd.method.slide_candidates import Candidates, candidates
from slpd.settings.training import SlideGraph

ROUNDING = 1e-4  # of bounds, which are sums of float32 cosines
DECIMALS = 9  # similarities that agree to 1e-9 are tied: rounding must not decide between equal slides


def best_matching(cosines: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
    """The one-to-one matching with the largest sum.

    Args:
        cosines: (M, M), cosine of prototype k of one slide and prototype l of the other.

    Returns:
        The sum, and for each k the matched l, (M,).
    """
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return round(float(cosines[rows, columns].sum()), DECIMALS), columns


def most_similar(
    vectors: NDArray[np.float64], itself: int, among: Candidates, n_neighbours: int
) -> list[tuple[float, int, NDArray[np.int64]]]:
    """The slides most similar to one slide, exactly among the candidates, without matching all of them.

    They are matched in order of their bound until no bound reaches the worst similarity among the best so far.

    Args:
        vectors: (C, M, D) unit prototypes.
        itself: The slide among the C.
        among: Its candidates.
        n_neighbours: How many to return, if there are as many others.

    Returns:
        (similarity, slide, matching), best first; ties in order of slides.
    """
    best: list[tuple[float, int, NDArray[np.int64]]] = []
    for slide, bound in zip(among.slides.tolist(), among.bounds.tolist(), strict=True):
        if len(best) == n_neighbours and bound < best[-1][0] - ROUNDING:
            break
        similarity, matching = best_matching(vectors[itself] @ vectors[slide].T)
        best.append((similarity, slide, matching))
        best = sorted(best, key=lambda link: (-link[0], link[1]))[:n_neighbours]
    return best


def link_slides(
    prototypes: NDArray[np.float32], kept: NDArray[np.bool_], settings: SlideGraph
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """The slide graph over the kept slides; a slide is never its own neighbour.

    Args:
        prototypes: (S, M, D), of any length; zeros have cosine 0 with everything.
        kept: (S,) slides that have prototypes.
        settings: Number of neighbours K, kind of correspondence.

    Returns:
        neighbours (S, K), similarity (S, K), correspondence (S, K, M); -1, 0, -1 where there is no neighbour.
    """
    S, M, _ = prototypes.shape
    K = settings.n_neighbours
    neighbours, similarity = np.full((S, K), -1, np.int32), np.zeros((S, K), np.float32)
    correspondence = np.full((S, K, M), -1, np.int32)
    slides = np.flatnonzero(kept)  # (C,)
    vectors = prototypes[slides].astype(np.float64)  # (C, M, D)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), np.finfo(np.float64).tiny)
    for place, among in enumerate(candidates(vectors.astype(np.float32))):
        slide = slides[place]
        for k, (value, other, matching) in enumerate(most_similar(vectors, place, among, K)):
            neighbours[slide, k], similarity[slide, k] = slides[other], value
            nearest = (vectors[place] @ vectors[other].T).argmax(axis=1)
            correspondence[slide, k] = matching if settings.correspondence == "matching" else nearest
    return neighbours, similarity, correspondence


def link_cohort(content: CohortPrototypes, settings: SlideGraph) -> SlideGraphArrays:
    """The slide graph of a cohort."""
    return SlideGraphArrays(*link_slides(content.prototypes, content.kept, settings), content.slides)

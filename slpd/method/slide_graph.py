"""The slide graph: each slide's most similar slides, and which prototypes correspond (SLPD, Yu et al. 2023).

The similarity of two slides is the largest sum of cosines over all one-to-one matchings of their
prototypes (optimal assignment), between -M and M, unchanged by any reordering of prototypes.

The graph is exact, and few pairs are matched: the sum of each prototype's best cosine, taken from either slide, bounds
a similarity from above. All pairs are bounded, some slides at a time; only those of a high bound are matched.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.settings.training import SlideGraph

Link = tuple[float, int, NDArray[np.int64]]  # similarity, slide, matching

ROUNDING = 1e-4  # of bounds, which are sums of float32 cosines
DECIMALS = 9  # similarities that agree to 1e-9 are tied: rounding must not decide between equal slides
BLOCK_BYTES = 2**26  # of cosines held at a time


def best_matching(cosines: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
    """The one-to-one matching with the largest sum.

    Args:
        cosines: (M, M), cosine of prototype k of one slide and prototype l of the other.

    Returns:
        The sum, and for each k the matched l, (M,).
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  0.3 s, which training on given graphs does without

    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return round(float(cosines[rows, columns].sum()), DECIMALS), columns


def upper_bounds(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """For every slide in turn, (C,) bounds of its similarity to all slides; of itself -inf.

    Args:
        vectors: (C, M, D) unit prototypes of C slides.
    """
    C, M, D = vectors.shape
    others = np.ascontiguousarray(vectors.transpose(2, 1, 0)).reshape(D, M * C)
    size = max(1, BLOCK_BYTES // (4 * M * M * C))
    for start in range(0, C, size):
        cosines = (vectors[start : start + size].reshape(-1, D) @ others).reshape(-1, M, M, C)  # (b, its, theirs, C)
        bounds = np.minimum(cosines.max(axis=2).sum(axis=1), cosines.max(axis=1).sum(axis=1))  # (b, C)
        bounds[np.arange(len(bounds)), np.arange(start, start + len(bounds))] = -np.inf
        yield from bounds


def most_similar(
    vectors: NDArray[np.float64], itself: int, bounds: NDArray[np.float32], n_neighbours: int
) -> list[Link]:
    """The slides most similar to one slide, without matching all of them.

    Those with the best bounds are matched first. Any other that may be as similar as the worst of these has a bound
    that reaches it; such slides are matched in order of their bound, until no bound reaches the worst of the best.

    Args:
        vectors: (C, M, D) unit prototypes.
        itself: The slide among the C.
        bounds: (C,) of its similarity to each of them.
        n_neighbours: How many to return, 1 to C - 1.

    Returns:
        (similarity, slide, matching), best first; ties in order of slides.
    """
    first = np.argpartition(-bounds, n_neighbours - 1)[:n_neighbours]
    best = sorted((match(vectors, itself, slide) for slide in first.tolist()), key=rank)
    likely = np.setdiff1d(np.flatnonzero(bounds >= best[-1][0] - ROUNDING), first)
    for slide in likely[np.argsort(-bounds[likely])].tolist():
        if bounds[slide] < best[-1][0] - ROUNDING:
            break
        best = sorted([*best, match(vectors, itself, slide)], key=rank)[:n_neighbours]
    return best


def match(vectors: NDArray[np.float64], itself: int, other: int) -> Link:
    """A slide's link to another one."""
    similarity, matching = best_matching(vectors[itself] @ vectors[other].T)
    return similarity, other, matching


def rank(link: Link) -> tuple[float, int]:
    """What orders links: the most similar first, ties in order of slides."""
    return -link[0], link[1]


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
    if len(slides) < 2:
        return neighbours, similarity, correspondence
    vectors = prototypes[slides].astype(np.float64)  # (C, M, D)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), np.finfo(np.float64).tiny)
    n_neighbours = min(K, len(slides) - 1)
    for itself, bounds in enumerate(upper_bounds(vectors.astype(np.float32))):
        slide = slides[itself]
        for k, (value, other, matching) in enumerate(most_similar(vectors, itself, bounds, n_neighbours)):
            neighbours[slide, k], similarity[slide, k] = slides[other], value
            nearest = (vectors[itself] @ vectors[other].T).argmax(axis=1)
            correspondence[slide, k] = matching if settings.correspondence == "matching" else nearest
    return neighbours, similarity, correspondence


def link_cohort(cohort: CohortPrototypes, settings: SlideGraph) -> SlideGraphArrays:
    """The slide graph of a cohort."""
    return SlideGraphArrays(*link_slides(cohort.prototypes, cohort.kept, settings), cohort.slides)

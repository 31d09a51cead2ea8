"""The regions nearest to their prototype, by which a person sees what a prototype stands for."""

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes


def prototype_distances(embeddings: NDArray[np.float32], learned: CohortPrototypes) -> NDArray[np.float32]:
    """The distance of every region to its own prototype.

    Of bottleneck features the cosine distance, 0 (same direction) to 2 (opposite), since prototypes have length 1; of
    region vectors the Euclidean distance, in the units of the encoder.

    Args:
        embeddings: (R, D), the features that were clustered.
        learned: Prototypes and assignments of the R regions.

    Returns:
        (R,), nan in slides without prototypes.
    """
    distances = np.full(len(embeddings), np.nan, np.float32)
    for slide in np.flatnonzero(learned.kept):
        of_slide = slice(learned.offsets[slide], learned.offsets[slide + 1])
        prototypes = learned.prototypes[slide][learned.assignments[of_slide]]  # (n, D)
        if learned.features == "bottleneck":
            distances[of_slide] = np.maximum(1 - (embeddings[of_slide] * prototypes).sum(1), 0)  # -1e-8 by rounding
        else:
            distances[of_slide] = np.linalg.norm(embeddings[of_slide] - prototypes, axis=1)
    return distances


def nearest_regions(
    assignments: NDArray[np.int16], distances: NDArray[np.float32], n_prototypes: int, n_nearest: int
) -> list[list[int]]:
    """The nearest regions of each prototype of a slide among those assigned to it, nearest first; ties by number.

    Args:
        assignments: (n,) prototype of each region of the slide; -1: none.
        distances: (n,) distance of each region to it.
        n_prototypes: M.
        n_nearest: At most so many regions of each.
    """
    order = np.argsort(distances, kind="stable")
    return [order[assignments[order] == k][:n_nearest].tolist() for k in range(n_prototypes)]

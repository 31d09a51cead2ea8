"""Prototypes of a slide: k-means of its region embeddings (SLPD, Yu et al. 2023)."""

import logging

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.errors import UserError
from slpd.settings.training import Prototypes

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it logs every instruction set that it tries
import faiss  # noqa: E402

faiss.omp_set_num_threads(1)  # a slide is too little work to divide, and one thread always sums in the same order


def cluster_slide(
    embeddings: NDArray[np.float32], settings: Prototypes
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """The prototypes of one slide and the prototype of each of its regions.

    k-means is Euclidean, on unit vectors too; regions are assigned to the centroids as they are. Centroids of unit
    vectors are scaled to length 1 afterwards (as released). The seed is the same for every slide, so that a slide's
    prototypes do not depend on its place in the cohort. A cluster that runs empty is re-seeded by faiss
    next to the largest one; where a slide has fewer distinct regions than prototypes, some stay without regions.

    Args:
        embeddings: (n, D), n at least `settings.n_prototypes`.
        settings: Number of prototypes, which features these are, iterations, restarts, seed.

    Returns:
        (M, D) prototypes and (n,) indices into them; equal bytes for equal input, since a GPU is never used: training
        and `cluster_regions` must find the same, on whatever machine each runs.
    """
    n, D = embeddings.shape
    clustering = faiss.Clustering(D, settings.n_prototypes)
    clustering.niter = settings.kmeans_iterations
    clustering.nredo = settings.kmeans_restarts
    clustering.seed = settings.seed
    clustering.min_points_per_centroid = 1  # min_regions decides whether a slide has enough regions
    clustering.max_points_per_centroid = n  # no subsampling
    index = faiss.IndexFlatL2(D)
    clustering.train(np.ascontiguousarray(embeddings), index)
    centroids = faiss.vector_to_array(clustering.centroids).reshape(settings.n_prototypes, D)
    index.reset()
    index.add(centroids)
    assignments = index.search(embeddings, 1)[1][:, 0]
    prototypes = unit(centroids) if settings.features == "bottleneck" else centroids
    return prototypes, assignments.astype(np.int16)


def cluster_cohort(cohort: CohortEmbeddings, settings: Prototypes) -> CohortPrototypes:
    """The prototypes of every slide of a cohort.

    Raises:
        UserError: no slide has enough regions.
    """
    counts = np.diff(cohort.offsets)
    kept = counts >= settings.min_regions
    if not kept.any():
        largest = int(counts.argmax())
        raise UserError(
            f"prototypes.min_regions is {settings.min_regions}, but the largest slide, {cohort.slides[largest]}, has"
            f" {counts[largest]} regions; lower min_regions (and n_prototypes, at most that), or add larger slides"
        )
    embeddings = cohort.of(settings.features)  # (R, D)
    prototypes = np.zeros((len(kept), settings.n_prototypes, embeddings.shape[1]), np.float32)
    assignments = np.full(len(embeddings), -1, np.int16)
    for slide in np.flatnonzero(kept):
        regions = slice(cohort.offsets[slide], cohort.offsets[slide + 1])
        prototypes[slide], assignments[regions] = cluster_slide(embeddings[regions], settings)
    return CohortPrototypes(prototypes, settings.features, kept, assignments, cohort.offsets, cohort.slides)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors along the last axis scaled to length 1; a vector of zeros stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True).astype(np.float32)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float32).tiny))

"""Which slides may be the most similar ones to a slide, best first by an upper bound of their similarity.

The sum of each prototype's best cosine bounds a similarity from above, from either side. Up to `EXACT_SLIDES` slides
all are bounded, and the slide graph is exact. Beyond, faiss finds candidates by an approximation of that sum that is an
inner product: space is divided into cells; a slide offers, for each cell, its prototype nearest to the cell's
centre, and asks, with each of its prototypes, what others offer for the cell that this one lies in. Candidates are
then ranked exactly.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it logs every instruction set that it tries
import faiss  # noqa: E402

EXACT_SLIDES = 5_000  # all pairs of this many slides take seconds
BLOCK_BYTES = 2**26  # of cosines held at a time
CELLS = 64
DIMENSIONS = 32  # principal ones, of which cells and sums are made
CANDIDATES = 400  # slides that are ranked exactly
SAMPLE = 20_000  # prototypes that principal dimensions and cells are made from
QUERIES = 4096  # slides looked up at a time


class Candidates(NamedTuple):
    """Slides that may be the most similar to one slide."""

    slides: NDArray[np.int64]  # (n,) best bound first, not the slide itself
    bounds: NDArray[np.float32]  # (n,) no less than their similarity, but for rounding


def candidates(vectors: NDArray[np.float32]) -> Iterator[Candidates]:
    """The candidates of every slide in turn.

    Args:
        vectors: (C, M, D) unit prototypes of C slides.
    """
    return all_bounded(vectors) if len(vectors) <= EXACT_SLIDES else found_by_cells(vectors)


def all_bounded(vectors: NDArray[np.float32]) -> Iterator[Candidates]:
    """For every slide, all others."""
    C, M, D = vectors.shape
    others = np.ascontiguousarray(vectors.transpose(2, 1, 0)).reshape(D, M * C)
    size = max(1, BLOCK_BYTES // (4 * M * M * C))
    for start in range(0, C, size):
        cosines = (vectors[start : start + size].reshape(-1, D) @ others).reshape(-1, M, M, C)  # (b, own, theirs, C)
        for place, bounds in enumerate(upper_bounds(cosines), start):
            order = np.argsort(-bounds, kind="stable")
            order = order[order != place]
            yield Candidates(order, bounds[order])


def upper_bounds(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., M, M, C) cosines of own and others' prototypes -> (..., C) bounds of the similarity."""
    of_own, of_others = cosines.max(axis=-2).sum(axis=-2), cosines.max(axis=-3).sum(axis=-2)
    return np.asarray(np.minimum(of_own, of_others))


def found_by_cells(vectors: NDArray[np.float32]) -> Iterator[Candidates]:
    """For every slide, the slides that offer most for the cells of its prototypes."""
    M, D = vectors.shape[1:]
    asked, offered = cell_vectors(vectors)
    index = faiss.IndexFlatIP(offered.shape[1])
    index.add(offered)
    for start in range(0, len(vectors), QUERIES):
        _, found = index.search(asked[start : start + QUERIES], min(CANDIDATES + 1, len(vectors)))
        for place, slides in enumerate(found, start):
            others = slides[slides != place]
            cosines = vectors[others].reshape(-1, D) @ vectors[place].T  # (n * M, M)
            bounds = upper_bounds(cosines.reshape(-1, M, M).transpose(2, 1, 0))
            order = np.argsort(-bounds, kind="stable")
            yield Candidates(others[order], bounds[order])


def cell_vectors(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What every slide asks and offers, (C, cells * dimensions) each; deterministic on a CPU."""
    C, M, D = vectors.shape
    points = vectors.reshape(-1, D)
    sample = points[np.random.default_rng(0).permutation(len(points))[:SAMPLE]].astype(np.float64)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -DIMENSIONS:].astype(np.float32)  # (D, d)
    reduced = (points @ axes).reshape(C, M, -1)
    likeness = reduced @ cell_centres(sample.astype(np.float32) @ axes).T  # (C, M, cells)
    offered = np.take_along_axis(reduced, likeness.argmax(axis=1)[..., None], axis=1)  # (C, cells, d)
    asked = np.zeros_like(offered)
    for prototype, cell in enumerate(likeness.argmax(axis=2).T):  # several may lie in one cell
        asked[np.arange(C), cell] += reduced[:, prototype]
    return asked.reshape(C, -1), offered.reshape(C, -1)


def cell_centres(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(cells, d) unit centres of k-means."""
    clustering = faiss.Clustering(points.shape[1], min(CELLS, len(points)))
    clustering.seed, clustering.niter, clustering.min_points_per_centroid = 0, 10, 1
    clustering.train(points, faiss.IndexFlatIP(points.shape[1]))
    centres = faiss.vector_to_array(clustering.centroids).reshape(-1, points.shape[1])
    return np.asarray(centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12))

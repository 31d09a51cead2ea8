"""Which prototypes a region is pulled to, on a cohort worked by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.method.prototype_targets import TARGETS, corresponding_prototypes, own_prototypes, region_targets
from slpd.method.prototypes import cluster_cohort, unit
from slpd.method.slide_graph import link_slides
from slpd.settings.training import TERMS, Features, Objective, Prototypes, SlideGraph

# Slides 0, 1, 2 with 2, 1, 2 regions and 2 prototypes each; slide 1 is not kept.
CONTENT = CohortPrototypes(
    prototypes=np.zeros((3, 2, 4), np.float32),
    features="bottleneck",
    kept=np.array([True, False, True]),
    assignments=np.array([1, 0, -1, 0, 1], np.int16),
    offsets=np.array([0, 2, 3, 5]),
    slides=["a", "b", "c"],
)
NONE = [-1, -1]
OBJECTIVE = Objective(intra=1, inter=1, prototype_views="all", prototype_centre="own")
GRAPH = SlideGraphArrays(
    neighbours=np.array([[2, -1], [-1, -1], [0, -1]], np.int32),
    similarity=np.zeros((3, 2), np.float32),
    correspondence=np.array([[[1, 0], NONE], [NONE, NONE], [[0, 0], NONE]], np.int32),
    slides=["a", "b", "c"],
)


def test_intra_is_the_regions_own_assignment() -> None:
    assert own_prototypes(CONTENT, None).rows.tolist() == [[1, 0, -1, 4, 5]]


def test_inter_is_the_corresponding_prototype_of_the_neighbour() -> None:
    """Region 0 has prototype 1, which corresponds to prototype 0 of slide 2: row 2 * 2 + 0. Rank 2 is empty."""
    assert corresponding_prototypes(CONTENT, GRAPH).rows.tolist() == [[4, 5, -1, 0, 0]]


@pytest.mark.parametrize("features", ["bottleneck", "region_vector"])
@pytest.mark.parametrize("correspondence", ["matching", "nearest"])
def test_permuting_slides_permutes_every_target(features: Features, correspondence: str) -> None:
    """From embeddings to targets: a region is pulled to the same vectors wherever its slide stands."""
    counts, generator = [9, 3, 12, 7, 10, 8], np.random.default_rng(0)  # the second is not kept
    slides = [generator.normal(size=(n, 6)).astype(np.float32) for n in counts]
    order = [4, 1, 5, 0, 3, 2]
    straight = targets_of(slides, features, correspondence)
    turned = targets_of([slides[s] for s in order], features, correspondence)
    for place, slide in enumerate(order):
        for ours, theirs in zip(turned[place], straight[slide], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def targets_of(slides: list[NDArray[np.float32]], features: Features, correspondence: str) -> list[list[NDArray]]:
    """For each slide the intra and inter target vectors of its regions; not a number where there is none."""
    vectors, offsets = np.concatenate(slides), np.cumsum([0, *map(len, slides)])
    prototypes = Prototypes(
        n_prototypes=3, min_regions=4, features=features, kmeans_iterations=10, kmeans_restarts=3, seed=0
    )
    names = [f"s{place}" for place in range(len(slides))]
    content = cluster_cohort(CohortEmbeddings(unit(vectors), vectors, offsets, names), prototypes)
    settings = SlideGraph(n_neighbours=2, correspondence=correspondence)
    graph = SlideGraphArrays(*link_slides(content.prototypes, content.kept, settings), slides=names)
    found = region_targets(OBJECTIVE, content, graph)
    assert [targets.rows.shape for targets in found.values()] == [(1, len(vectors)), (2, len(vectors))]
    none = np.full((1, 6), np.nan, np.float32)  # row -1
    pulled = np.concatenate([np.concatenate([targets.vectors, none])[targets.rows] for targets in found.values()])
    assert (np.isnan(pulled).all(axis=(0, 2)) == np.repeat(~content.kept, list(map(len, slides)))).all()
    return [list(targets) for targets in np.split(pulled, offsets[1:-1], axis=1)]


def test_every_term_that_needs_prototypes_has_targets() -> None:
    assert list(TARGETS) == [term for term in TERMS if term.needs != "nothing"]

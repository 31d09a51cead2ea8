"""Prototypes of a whole cohort: the clusters of all regions, the same for every slide."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.errors import UserError
from slpd.method.global_prototypes import find_prototypes
from slpd.method.prototypes import cluster_cohort
from slpd.settings.training import Prototypes


def settings(**changes: object) -> Prototypes:
    values = {
        "level": "cohort",
        "n_prototypes": 3,
        "min_regions": 3,
        "features": "bottleneck",
        "kmeans_iterations": 20,
        "kmeans_restarts": 5,
        "seed": 0,
    }
    return Prototypes.model_validate(values | changes)


def cohort() -> tuple[CohortEmbeddings, np.ndarray]:
    """Three slides, of which the last has one region, and the group of each region: three directions apart."""
    rng = np.random.default_rng(0)
    groups = np.array([0, 1] * 5 + [1, 2] * 5 + [2])
    vectors = np.eye(8)[groups] + 0.05 * rng.normal(size=(21, 8))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    region_vectors = (3 * vectors[:, ::-1]).astype(np.float32)
    return CohortEmbeddings(unit, region_vectors, np.array([0, 10, 20, 21]), ["a", "b", "c"]), groups


@pytest.mark.parametrize("features", ["bottleneck", "region_vector"])
def test_regions_of_all_slides_are_clustered_together(features: str) -> None:
    embeddings, groups = cohort()
    found = find_prototypes(embeddings, settings(features=features))
    assert adjusted_rand_score(groups, found.assignments) == 1
    assert found.kept.tolist() == [True, True, True]  # a slide of one region too
    vectors = embeddings.bottleneck if features == "bottleneck" else embeddings.region_vector
    for slide in range(3):
        np.testing.assert_array_equal(found.prototypes[slide], found.prototypes[0])
    for number in range(3):
        mean = vectors[found.assignments == number].mean(axis=0)
        expected = mean / np.linalg.norm(mean) if features == "bottleneck" else mean
        np.testing.assert_allclose(found.prototypes[0, number], expected, atol=1e-5)


def test_a_cohort_may_have_more_prototypes_than_a_slide_has_regions() -> None:
    assert find_prototypes(cohort()[0], settings(n_prototypes=12)).prototypes.shape == (3, 12, 8)
    with pytest.raises(ValueError, match="min_regions is 3, n_prototypes 12"):
        settings(level="slide", n_prototypes=12)
    with pytest.raises(UserError, match="n_prototypes is 22, but the cohort has 21 regions"):
        find_prototypes(cohort()[0], settings(n_prototypes=22))


def test_the_level_of_slides_is_the_method() -> None:
    of_slides = settings(level="slide")
    found, expected = find_prototypes(cohort()[0], of_slides), cluster_cohort(cohort()[0], of_slides)
    np.testing.assert_array_equal(found.prototypes, expected.prototypes)
    assert found.kept.tolist() == [True, True, False]

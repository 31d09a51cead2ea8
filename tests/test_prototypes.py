"""`cluster_regions`: what prototypes are, and which slides have none."""

import logging

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.errors import UserError
from slpd.method.prototypes import cluster_cohort, cluster_slide, unit
from slpd.settings.training import Features, Prototypes


def settings(n_prototypes: int = 4, min_regions: int = 4, features: Features = "bottleneck") -> Prototypes:
    return Prototypes(
        n_prototypes=n_prototypes,
        min_regions=min_regions,
        features=features,
        kmeans_iterations=10,
        kmeans_restarts=5,
        seed=0,
    )


def planted(n: int, n_kinds: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors around `n_kinds` orthogonal directions, and the direction of each."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(n) % n_kinds
    vectors = np.eye(16)[kinds] + 0.05 * generator.normal(size=(n, 16))
    return unit(vectors.astype(np.float32)), kinds


def test_planted_kinds_are_found_and_prototypes_are_their_mean_directions() -> None:
    vectors, kinds = planted(40, 4)
    prototypes, assignments = cluster_slide(vectors, settings())
    for kind in range(4):
        members = assignments[kinds == kind]
        assert (members == members[0]).all()
        mean = vectors[kinds == kind].mean(axis=0)
        np.testing.assert_allclose(prototypes[members[0]], mean / np.linalg.norm(mean), atol=1e-5)


def test_equal_input_gives_equal_bytes() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(60, 16)).astype(np.float32))
    first, second = cluster_slide(vectors, settings()), cluster_slide(vectors, settings())
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_as_many_regions_as_prototypes() -> None:
    vectors, _ = planted(4, 4)
    prototypes, assignments = cluster_slide(vectors, settings())
    assert sorted(assignments) == [0, 1, 2, 3]
    np.testing.assert_allclose(prototypes[assignments], vectors, atol=1e-6)


@pytest.mark.parametrize("n_distinct", [1, 2])
def test_fewer_distinct_regions_than_prototypes(n_distinct: int) -> None:
    vectors = np.repeat(planted(n_distinct, n_distinct)[0], 10, axis=0)
    prototypes, assignments = cluster_slide(vectors, settings())
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-5)
    assert (np.einsum("nd,nd->n", prototypes[assignments], vectors) > 0.99).all()


def cohort(counts: list[int]) -> CohortEmbeddings:
    parts = [planted(count, 4, seed)[0] for seed, count in enumerate(counts)]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return embedded(np.concatenate(parts), offsets, [f"s{i}" for i in range(len(counts))])


def embedded(vectors: NDArray[np.float32], offsets: NDArray[np.int64], slides: list[str]) -> CohortEmbeddings:
    """Unit vectors as bottlenecks; region vectors that point elsewhere and are longer."""
    return CohortEmbeddings(vectors, 3 * vectors[:, ::-1], offsets, slides)


def test_slides_below_the_minimum_have_no_prototypes() -> None:
    content = cluster_cohort(cohort([12, 7, 8]), settings(min_regions=8))
    assert content.kept.tolist() == [True, False, True]
    assert not content.prototypes[1].any()
    assert (content.assignments[12:19] == -1).all()
    assert set(content.assignments[:12]) | set(content.assignments[19:]) == {0, 1, 2, 3}


def test_a_slide_has_the_same_prototypes_wherever_it_stands() -> None:
    alone, together = cluster_cohort(cohort([12]), settings()), cluster_cohort(cohort([12, 9, 15]), settings())
    assert alone.prototypes[0].tobytes() == together.prototypes[0].tobytes()
    parts = np.split(cohort([12, 9, 15]).bottleneck, [12, 21])
    turned = embedded(np.concatenate(parts[::-1]), np.array([0, 15, 24, 36]), ["x", "y", "z"])
    assert cluster_cohort(turned, settings()).prototypes[::-1].tobytes() == together.prototypes.tobytes()


def test_region_vectors_are_clustered_on_request_and_their_means_kept_as_they_are() -> None:
    content = cohort([40])
    clustered = cluster_cohort(content, settings(features="region_vector"))
    assert clustered.features == "region_vector"
    for k in range(4):
        mean = content.region_vector[clustered.assignments == k].mean(axis=0)
        np.testing.assert_allclose(clustered.prototypes[0, k], mean, atol=1e-5)
        assert np.linalg.norm(mean) > 2


def test_regions_belong_to_the_nearest_centroid_before_it_is_brought_to_length_1() -> None:
    """As released. A loose cluster's centroid is short, so that its direction alone would claim other regions."""
    generator = np.random.default_rng(2)
    vectors = unit(generator.normal(size=(200, 3)).astype(np.float32))
    vectors[:120] = unit(np.array([0, 0, 1], np.float32) + 0.1 * vectors[:120])
    prototypes, assignments = cluster_slide(vectors, settings())
    centroids, same = cluster_slide(vectors, settings(features="region_vector"))
    assert assignments.tolist() == same.tolist()
    np.testing.assert_allclose(prototypes, unit(centroids), atol=1e-6)
    distances = np.linalg.norm(vectors[:, None] - centroids, axis=2)
    assert assignments.tolist() == distances.argmin(axis=1).tolist()
    assert (assignments != (vectors @ prototypes.T).argmax(axis=1)).any(), "else this test shows nothing"


def spread(vectors: NDArray[np.float32], **changes: int) -> float:
    """Summed squared distance of regions to their centroids."""
    centroids, assignments = cluster_slide(vectors, settings(8, 8, features="region_vector").model_copy(update=changes))
    return float(np.square(vectors - centroids[assignments]).sum())


def test_seed_iterations_and_restarts_are_those_of_the_settings() -> None:
    vectors = np.random.default_rng(3).normal(size=(120, 4)).astype(np.float32)
    once = {"kmeans_restarts": 1}
    by_iterations = [spread(vectors, kmeans_iterations=n, **once) for n in (1, 2, 5, 25)]
    assert by_iterations == sorted(by_iterations, reverse=True)
    assert len(set(by_iterations)) == 4
    by_restarts = [spread(vectors, kmeans_restarts=n) for n in (1, 5, 40)]
    assert by_restarts == sorted(by_restarts, reverse=True)
    assert by_restarts[0] > by_restarts[-1]
    assert len({spread(vectors, seed=seed, **once) for seed in range(4)}) > 1


def test_many_iterations_end_where_lloyd_does() -> None:
    vectors = np.random.default_rng(4).normal(size=(90, 4)).astype(np.float32)
    enough = settings(5, 5, features="region_vector").model_copy(update={"kmeans_iterations": 100})
    centroids, assignments = cluster_slide(vectors, enough)
    for k in range(5):  # a fixed point: every centroid is the mean of the regions that are nearest to it
        np.testing.assert_allclose(centroids[k], vectors[assignments == k].mean(axis=0), atol=1e-5)


def test_training_and_cluster_regions_find_the_same_wherever_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule runs on a node without a GPU, training on one with: faiss is not asked whether there is one."""
    vectors, _ = planted(60, 4)
    expected = cluster_slide(vectors, settings())

    def asked(*args: object) -> int:
        raise AssertionError("a GPU sums in another order")

    monkeypatch.setattr(faiss, "get_num_gpus", asked)
    found = cluster_slide(vectors, settings())
    assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]


def test_no_slide_large_enough_names_the_largest() -> None:
    with pytest.raises(UserError, match=r"min_regions is 20, but the largest slide, s1, has 9 regions"):
        cluster_cohort(cohort([5, 9]), settings(min_regions=20))


def test_faiss_does_not_write_to_the_log() -> None:
    assert not logging.getLogger("faiss.loader").isEnabledFor(logging.INFO)

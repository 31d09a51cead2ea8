"""`link_slides`: similarity by optimal matching, neighbours, correspondence."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from slpd.method import slide_graph
from slpd.method.prototypes import unit
from slpd.method.slide_graph import best_matching, link_slides
from slpd.settings.training import SlideGraph

MATCHING = SlideGraph(n_neighbours=2, correspondence="matching")


def draw(n_slides: int, n_prototypes: int, seed: int = 0) -> NDArray[np.float32]:
    """Prototypes with a per-slide offset, so that slides differ in how similar they are."""
    generator = np.random.default_rng(seed)
    offset = 0.6 * generator.normal(size=(n_slides, 1, 12))
    return unit((generator.normal(size=(n_slides, n_prototypes, 12)) + offset).astype(np.float32))


def similarity_by_permutations(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    cosines = a.astype(float) @ b.T.astype(float)
    return max(sum(cosines[k, image[k]] for k in range(len(a))) for image in permutations(range(len(a))))


def similarity_by_solver(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of more prototypes than have few permutations."""
    rows, columns = linear_sum_assignment(-(a @ b.T))
    return float((a @ b.T)[rows, columns].sum())


@given(seed=st.integers(0, 10_000), n_prototypes=st.integers(1, 5))
def test_similarity_is_the_best_of_all_permutations(seed: int, n_prototypes: int) -> None:
    a, b = draw(2, n_prototypes, seed)
    cosines = a.astype(float) @ b.T.astype(float)
    similarity, matching = best_matching(cosines)
    assert similarity == pytest.approx(similarity_by_permutations(a, b), abs=1e-8)
    assert sorted(matching) == list(range(n_prototypes))
    assert similarity == best_matching(cosines.T)[0]
    assert -n_prototypes <= similarity <= n_prototypes
    order = np.random.default_rng(seed).permutation(n_prototypes)
    assert best_matching(cosines[order])[0] == similarity


@pytest.mark.parametrize("n_neighbours", [1, 3, 20])
def test_neighbours_are_the_most_similar_kept_slides(n_neighbours: int) -> None:
    """Pruning changes nothing: the same as comparing with every slide."""
    prototypes, kept = draw(14, 3), np.arange(14) % 5 != 2
    settings = SlideGraph(n_neighbours=n_neighbours, correspondence="matching")
    neighbours, similarity, _ = link_slides(prototypes, kept, settings)
    for s in range(14):
        others = [o for o in range(14) if kept[s] and kept[o] and o != s]
        values = {o: similarity_by_permutations(prototypes[s], prototypes[o]) for o in others}
        expected = sorted(others, key=lambda o: -values[o])[:n_neighbours]
        n = len(expected)
        assert neighbours[s].tolist() == expected + [-1] * (n_neighbours - n)
        np.testing.assert_allclose(similarity[s, :n], [values[o] for o in expected], atol=1e-6)


def test_slides_not_kept_have_no_neighbours_and_are_none() -> None:
    kept = np.array([True, False, True, False, True])
    neighbours, similarity, correspondence = link_slides(
        draw(5, 3), kept, SlideGraph(n_neighbours=4, correspondence="nearest")
    )
    assert set(neighbours[kept].ravel()) == {0, 2, 4, -1}
    assert (neighbours[kept, 2:] == -1).all()
    for array, missing in ((neighbours, -1), (similarity, 0), (correspondence, -1)):
        assert (array[~kept] == missing).all()
    assert (correspondence[neighbours == -1] == -1).all()


def test_a_single_kept_slide_has_no_neighbour() -> None:
    neighbours, *_ = link_slides(draw(3, 2), np.array([False, True, False]), MATCHING)
    assert (neighbours == -1).all()


def test_equal_slides_are_each_others_neighbours_never_their_own_and_ties_go_by_slide() -> None:
    prototypes = np.repeat(draw(1, 4), 4, axis=0)
    neighbours, similarity, _ = link_slides(prototypes, np.ones(4, bool), MATCHING)
    assert neighbours.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert (similarity == 4).all()  # M, and no rounding above it


def test_the_length_of_prototypes_does_not_matter() -> None:
    """Means of region vectors have any length; similarity is of directions."""
    prototypes = draw(9, 4)
    longer = prototypes * np.random.default_rng(5).uniform(0.1, 30, (9, 4, 1)).astype(np.float32)
    first, second = (link_slides(vectors, np.ones(9, bool), MATCHING) for vectors in (prototypes, longer))
    assert (first[0] == second[0]).all()
    np.testing.assert_allclose(first[1], second[1], atol=1e-5)
    assert (first[2] == second[2]).all()


def test_permuting_slides_permutes_the_graph() -> None:
    prototypes, order = draw(9, 4), np.random.default_rng(3).permutation(9)
    neighbours, similarity, correspondence = link_slides(prototypes, np.ones(9, bool), MATCHING)
    turned = link_slides(prototypes[order], np.ones(9, bool), MATCHING)
    assert (order[turned[0]] == neighbours[order]).all()
    np.testing.assert_allclose(turned[1], similarity[order], atol=1e-6)
    assert (turned[2] == correspondence[order]).all()


def test_correspondence_is_one_to_one_or_each_ones_nearest() -> None:
    prototypes = draw(9, 4)
    neighbours, _, matching = link_slides(prototypes, np.ones(9, bool), MATCHING)
    assert (np.sort(matching, axis=-1) == np.arange(4)).all()
    _, _, nearest = link_slides(prototypes, np.ones(9, bool), SlideGraph(n_neighbours=2, correspondence="nearest"))
    for s, row in enumerate(neighbours):
        for k, other in enumerate(row):
            assert nearest[s, k].tolist() == (prototypes[s] @ prototypes[other].T).argmax(axis=1).tolist()


def test_sixteen_prototypes() -> None:
    """As many permutations as 2e13: only an assignment solver gets here. A slide finds its shuffled twin."""
    prototypes = draw(6, 16)
    order = np.random.default_rng(1).permutation(16)
    prototypes[5] = prototypes[2][order]
    neighbours, similarity, correspondence = link_slides(prototypes, np.ones(6, bool), MATCHING)
    assert neighbours[5, 0] == 2
    assert similarity[5, 0] == pytest.approx(16, abs=1e-5)
    assert correspondence[5, 0].tolist() == order.tolist()


@pytest.mark.parametrize("n_neighbours", [1, 5])
def test_slides_that_a_bound_ranks_wrongly_are_found(n_neighbours: int) -> None:
    """With many prototypes in few dimensions a bound says little of a similarity; the graph is exact all the same."""
    prototypes, settings = draw(60, 6), SlideGraph(n_neighbours=n_neighbours, correspondence="matching")
    narrow = unit(np.ascontiguousarray(prototypes[..., :3]))
    neighbours, *_ = link_slides(narrow, np.ones(60, bool), settings)
    wide = narrow.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=2, keepdims=True)
    for s in range(60):
        values = {o: round(similarity_by_solver(wide[s], wide[o]), 9) for o in range(60) if o != s}
        assert neighbours[s].tolist() == sorted(values, key=lambda o: (-values[o], o))[:n_neighbours]


@pytest.mark.parametrize("block_bytes", [1, 2**10, 2**26])
def test_blocks_of_slides_change_nothing(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = link_slides(draw(14, 3), np.ones(14, bool), MATCHING)
    monkeypatch.setattr(slide_graph, "BLOCK_BYTES", block_bytes)
    for ours, theirs in zip(link_slides(draw(14, 3), np.ones(14, bool), MATCHING), whole, strict=True):
        assert ours.tolist() == theirs.tolist()

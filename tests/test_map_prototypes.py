"""`map_prototypes`: what is alike lies together, nothing is missing, few points are no failure."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.analysis.plane import neighbourhood_plane, principal_plane
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes, write_prototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings, write_embeddings
from slpd.artifacts.learned.prototype_map import read_prototype_map
from slpd.artifacts.learned.slide_map import read_slide_map

RNG = np.random.default_rng(0)


def three_kinds(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """N vectors around three orthogonal directions, and the direction of each."""
    kinds = np.arange(n) % 3
    return np.eye(16)[kinds] + 0.1 * np.random.default_rng(1).normal(size=(n, 16)), kinds


def test_kinds_stay_apart() -> None:
    """Nearest neighbours in the plane are of the same kind."""
    points, kinds = three_kinds(60)
    plane = neighbourhood_plane(points, perplexity=10, seed=0)
    distance = np.linalg.norm(plane[:, None] - plane[None], axis=2) + np.diag(np.full(60, np.inf))
    assert (kinds[distance.argmin(axis=1)] == kinds).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 30, 31])
def test_any_number_of_points_has_a_plane(n: int) -> None:
    plane = neighbourhood_plane(three_kinds(n)[0], perplexity=30, seed=0)
    assert plane.shape == (n, 2)
    assert np.isfinite(plane).all()
    assert len(np.unique(plane, axis=0)) == n


@pytest.mark.parametrize("n", [2, 6, 40])
def test_equal_points_have_equal_places(n: int) -> None:
    plane = neighbourhood_plane(np.ones((n, 4)), perplexity=30, seed=0)
    assert np.isfinite(plane).all()
    assert np.ptp(plane, axis=0).max() == 0


def test_principal_plane_is_that_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    points = RNG.normal(size=(20, 5)) * [5, 3, 1, 1, 1]
    ours, theirs = principal_plane(points), PCA(2).fit_transform(points)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)


def write_case(folder: Path, n_slides: int = 8) -> CohortPrototypes:
    """Slides of 5 regions and 3 prototypes; the second slide has none. Prototype m lies along direction m."""
    vectors = np.tile(np.eye(16)[:3], (n_slides, 1, 1)) * RNG.uniform(0.5, 2, (n_slides, 3, 1))
    vectors += 0.05 * RNG.normal(size=vectors.shape)
    kept = np.arange(n_slides) != 1
    assignments = np.tile(np.array([0, 0, 0, 1, 2], np.int16), n_slides)
    assignments[5:10] = -1
    offsets = np.arange(0, 5 * n_slides + 1, 5)
    slides = [f"s{i}" for i in range(n_slides)]
    content = CohortPrototypes(vectors.astype(np.float32), "bottleneck", kept, assignments, offsets, slides)
    write_prototypes(folder / "p.npz", content)
    region_vector = (np.repeat(np.arange(n_slides) % 2, 5)[:, None] * 9 + RNG.normal(size=(5 * n_slides, 6))).astype(
        "f"
    )
    write_embeddings(folder / "e.h5", CohortEmbeddings(region_vector, region_vector, offsets, slides))
    return content


def run(folder: Path, out: str = "") -> None:
    options = ["--prototypes", f"{folder}/p.npz", "--embeddings", f"{folder}/e.h5", "--perplexity", "30", "--seed", "0"]
    outputs = ["--prototype-map", f"{folder}/{out}pm.csv", "--slide-map", f"{folder}/{out}sm.csv"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["slpd", "map_prototypes", *options, *outputs])
        assert main() == 0


def test_maps_have_a_line_per_prototype_and_per_slide(tmp_path: Path) -> None:
    write_case(tmp_path)
    run(tmp_path)
    prototypes, slides = read_prototype_map(tmp_path / "pm.csv"), read_slide_map(tmp_path / "sm.csv")
    expected = [(f"s{i}", m, n) for i in range(8) if i != 1 for m, n in enumerate((3, 1, 1))]
    assert [(point.slide, point.prototype, point.n_regions) for point in prototypes] == expected
    assert [point.slide for point in slides] == [f"s{i}" for i in range(8)]
    places = {(point.slide, point.prototype): np.array([point.x, point.y]) for point in prototypes}
    nearest = min((key for key in places if key != ("s0", 2)), key=lambda k: np.hypot(*(places[k] - places["s0", 2])))
    assert nearest[1] == 2  # lengths differ more than directions, which count


def test_the_same_maps_again(tmp_path: Path) -> None:
    write_case(tmp_path)
    run(tmp_path)
    run(tmp_path, "again_")
    for name in ("pm.csv", "sm.csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again_{name}").read_bytes()


@pytest.mark.parametrize("n_slides", [1, 2, 3])
def test_cohorts_of_few_slides(tmp_path: Path, n_slides: int) -> None:
    write_case(tmp_path, n_slides)
    run(tmp_path)
    assert len(read_slide_map(tmp_path / "sm.csv")) == n_slides
    assert len(read_prototype_map(tmp_path / "pm.csv")) == 3 * max(1, n_slides - 1)


def test_a_cohort_without_prototypes_has_an_empty_map(tmp_path: Path) -> None:
    content = write_case(tmp_path, 2)
    none = CohortPrototypes(**{**vars(content), "kept": np.zeros(2, bool), "assignments": content.assignments * 0 - 1})
    write_prototypes(tmp_path / "p.npz", none)
    run(tmp_path)
    assert read_prototype_map(tmp_path / "pm.csv") == []

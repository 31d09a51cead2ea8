"""Robustness of vectors: equal to a loop from the definitions and to hand-worked cases; sites that say nothing go."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.analysis.vector_robustness import Marks, RobustnessFigures, index_by_chance, robustness, scoreable
from slpd.artifacts.evaluation.robustness_table import RobustnessLine, read_robustness
from slpd.artifacts.learned.bags import write_bags, write_patch_bags
from slpd.settings.evaluation import Intervals
from slpd.settings.robustness import Robustness
from slpd.stages import measure_robustness

pytestmark = pytest.mark.filterwarnings("ignore:dataset")  # croma's, on support

INTERVALS = Intervals(n_resamples=200, level=0.95, seed=0)


def settings(neighbours: tuple[int, ...] = (5,), margin: int = 2, regions: int = 0) -> Robustness:
    return Robustness(
        confounders=["site"], neighbours=list(neighbours), margin_neighbours=margin, regions=regions, seed=0
    )


def cohort(rng: np.random.Generator, n: int = 80) -> Marks:
    """Two classes at three sites, some patients with two slides."""
    return Marks(rng.integers(0, 2, n), rng.integers(0, 3, n), rng.integers(0, 2 * n, n))


def vectors_of(marks: Marks, rng: np.random.Generator, of_class: float, of_site: float) -> NDArray[np.float32]:
    """Noise, with a direction of the class and one of the site; (n, 6)."""
    axes = np.eye(6)
    planted = of_class * axes[marks.labels] + of_site * axes[2 + marks.sites]
    return (planted + 0.5 * rng.normal(size=(len(marks.labels), 6))).astype(np.float32)


def figures_of(vectors: NDArray[np.float32], marks: Marks, given: Robustness | None = None) -> RobustnessFigures:
    """Of slides with one vector each."""
    return robustness(list(vectors[:, None]), marks, given or settings(), INTERVALS)


def by_hand(vectors: NDArray[np.float32], marks: Marks, k: int, m: int) -> tuple[float, list[float]]:
    """The index and every margin, by loops over the definitions."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    n_elsewhere, n_here, margins = 0, 0, []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if marks.patients[j] != marks.patients[i]]
        others.sort(key=lambda j: 1 - float(unit[i] @ unit[j]))
        alike = [(marks.labels[j] == marks.labels[i], marks.sites[j] == marks.sites[i]) for j in others]
        n_elsewhere += alike[:k].count((True, False))
        n_here += alike[:k].count((False, True))
        distance = {
            kind: [1 - float(unit[i] @ unit[j]) for j, a in zip(others, alike, strict=True) if a == kind]
            for kind in ((True, False), (False, True))
        }
        elsewhere, here = (np.mean(distance[kind][:m]) for kind in ((True, False), (False, True)))
        margins.append(float((here - elsewhere) / (here + elsewhere)))
    return n_elsewhere / (n_elsewhere + n_here), margins


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_loops_over_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    marks = cohort(rng)
    vectors = vectors_of(marks, rng, 0.5, 0.5)
    found = figures_of(vectors, marks)
    index, margins = by_hand(vectors, marks, 5, 2)
    assert found.index == pytest.approx(index)
    assert found.margin == pytest.approx(np.median(margins), abs=1e-6)
    assert found.site_nearer == pytest.approx(np.mean(np.array(margins) <= 0))
    assert found.tail == pytest.approx(np.mean([x for x in margins if x <= np.percentile(margins, 10)]), abs=1e-6)
    assert found.low <= found.margin <= found.high
    assert found.k == 5


def test_class_and_site_pull_the_figures_apart() -> None:
    rng = np.random.default_rng(0)
    marks = cohort(rng, 150)
    by_class = figures_of(vectors_of(marks, rng, 2.0, 0.2), marks)
    by_site = figures_of(vectors_of(marks, rng, 0.2, 2.0), marks)
    assert by_class.index > 0.9 and by_site.index < 0.1
    assert by_class.low > 0 > by_site.high
    assert by_class.site_nearer < 0.1 and by_site.site_nearer > 0.9


def test_figures_by_chance_are_those_of_vectors_without_meaning() -> None:
    """In a cohort of unequal classes and sites, with patients of several slides and slides of several regions."""
    rng = np.random.default_rng(1)
    marks = Marks((rng.random(60) < 0.3).astype(int), (rng.random(60) < 0.7).astype(int), np.arange(60) // 2)
    sizes = rng.integers(1, 4, 60)
    found = [
        robustness([rng.normal(size=(n, 8)).astype(np.float32) for n in sizes], marks, settings((11,)), INTERVALS)
        for _ in range(30)
    ]
    indices, margins = ([getattr(one, name) for one in found] for name in ("index", "margin"))
    by_chance = index_by_chance(marks, sizes.astype(float))
    assert np.mean(indices) == pytest.approx(by_chance, abs=4 * np.std(indices) / math.sqrt(30))
    assert abs(by_chance - 0.5) > 0.05  # it is not one half here
    assert all(one.index_by_chance == by_chance for one in found)
    assert_same_mean(margins, [one.margin_by_chance for one in found])


def assert_same_mean(first: list[float], second: list[float]) -> None:
    """Pairs differ by nothing, as far as four standard errors can tell."""
    differences = np.array(first) - second
    assert abs(differences.mean()) < 4 * differences.std(ddof=1) / math.sqrt(len(differences))


def test_the_margin_by_chance_is_above_0_where_a_class_has_many_slides_elsewhere() -> None:
    rng = np.random.default_rng(3)
    marks = Marks(np.arange(96) % 2, np.arange(96) // 2 % 8, np.arange(96))
    found = [figures_of(rng.normal(size=(96, 8)).astype(np.float32), marks) for _ in range(20)]
    assert np.mean([one.margin_by_chance for one in found]) > 0.2
    assert_same_mean([one.margin for one in found], [one.margin_by_chance for one in found])


def test_the_index_by_chance_by_hand() -> None:
    """Slides a1 a2 b1 at site 1, a3 at site 2, all of different patients.

    a1: one elsewhere (a3), one here (b1) of three others; a2 the same; a3: two, none; b1: none, two. With two vectors
    of b1: 1/4 and 2/4 for a1 and a2, 2/4 and none for a3, none and twice 2/3 for b1.
    """
    marks = Marks(np.array([0, 0, 1, 0]), np.array([1, 1, 1, 2]), np.arange(4))
    assert index_by_chance(marks, np.ones(4)) == pytest.approx(4 / 8)
    assert index_by_chance(marks, np.array([1.0, 1.0, 2.0, 1.0])) == pytest.approx(1 / (1 + 7 / 3))


def test_slides_without_slides_to_compare_go_until_none_is_left_over() -> None:
    """Site 0 has both classes; site 1 both, but the second of one patient alone; site 2 one class."""
    labels = [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    sites = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    marks = Marks(np.array(labels), np.array(sites), np.array([0, 1, 2, 3, 4, 5, 6, 6, 7, 8]))
    assert scoreable(marks, 2).tolist() == [True] * 4 + [True] * 4 + [False] * 2
    together = Marks(marks.labels, marks.sites, np.array([0, 1, 2, 3, 4, 4, 4, 5, 7, 8]))
    # at site 1 one patient has slides of both classes: those have one other slide at most, and then site 0 has none
    assert not scoreable(together, 2).any()


# ---- the stage ----


def run_stage(
    folder: Path, lines: list[str], bags: dict[str, NDArray[np.float32]], given: Robustness
) -> list[RobustnessLine]:
    (folder / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp,class,site", *lines]) + "\n")
    write_bags(folder / "bags.h5", bags, {slide: np.full((len(bag), 2), -1) for slide, bag in bags.items()})
    return measured_by_stage(folder, given)


def measured_by_stage(folder: Path, given: Robustness) -> list[RobustnessLine]:
    parser = argparse.ArgumentParser()
    measure_robustness.add_arguments(parser)
    arguments = ["--bags", str(folder / "bags.h5"), "--sheet", str(folder / "sheet.csv")]
    arguments += ["--label", "class", "--classes", '["c0", "c1"]', "--settings", given.model_dump_json()]
    arguments += ["--intervals", INTERVALS.model_dump_json(), "--out", str(folder / "robustness.csv")]
    measure_robustness.run(parser.parse_args(arguments))
    return read_robustness(folder / "robustness.csv")


def test_the_stage_measures_slides_and_as_many_regions_of_each(tmp_path: Path) -> None:
    """A slide of another class, one without a site and one without vectors are not looked at."""
    rng = np.random.default_rng(2)
    lines = [f"s{i:02d},s{i:02d}.tif,p{i},,c{i % 2},{'AB'[i // 2 % 2]}" for i in range(24)]
    lines += ["n0,n0.tif,n0,,c2,A", "n1,n1.tif,n1,,c0,", "n2,n2.tif,n2,,c0,A"]
    bags = {line.split(",")[0]: rng.normal(size=(2 + i % 5, 4)).astype(np.float32) for i, line in enumerate(lines[:-1])}
    slides, regions = run_stage(tmp_path, lines, bags, settings(regions=72))
    assert (slides.vectors, slides.n_vectors, slides.n_slides, slides.n_slides_given) == ("slides", 24, 24, 24)
    assert (regions.vectors, regions.n_vectors) == ("regions", sum(min(3, 2 + i % 5) for i in range(24)))
    assert slides.n_sites == 2 and not slides.why and 0 < slides.index < 1
    means = np.stack([bags[f"s{i:02d}"].mean(axis=0) for i in range(24)])
    marks = Marks(np.arange(24) % 2, np.arange(24) // 2 % 2, np.arange(24))
    index, margins = by_hand(means, marks, 5, 2)
    assert (slides.index, slides.margin) == pytest.approx((index, np.median(margins)), abs=1e-5)
    assert run_stage(tmp_path, lines, bags, settings(regions=72)) == [slides, regions]
    assert [line.vectors for line in run_stage(tmp_path, lines, bags, settings())] == ["slides"]
    single = {slide: bag[:1] for slide, bag in bags.items()}
    assert [line.vectors for line in run_stage(tmp_path, lines, single, settings(regions=72))] == ["slides"]


def test_patches_that_stay_in_their_file_are_measured_as_those_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    lines = [f"s{i:02d},s{i:02d}.tif,p{i},,c{i % 2},{'AB'[i // 2 % 2]}" for i in range(24)]
    bags = {f"s{i:02d}": rng.normal(size=(6, 4)).astype(np.float16) for i in range(24)}
    in_memory = run_stage(tmp_path, lines, {s: b.astype(np.float32) for s, b in bags.items()}, settings(regions=72))
    counts = {slide: len(bag) for slide, bag in bags.items()}
    rows = ((bag, np.full((len(bag), 2), -1)) for bag in bags.values())
    write_patch_bags(tmp_path / "bags.h5", counts, 4, rows)
    assert measured_by_stage(tmp_path, settings(regions=72)) == in_memory


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    lines = [f"s{i},s{i}.tif,p{i},,c{i % 2},{'AB'[i % 2]}" for i in range(12)]
    equal = {f"s{i}": np.ones((2, 4), np.float32) for i in range(12)}
    (line,) = run_stage(tmp_path, lines, equal, settings())
    assert line.why == "no site has 2 slides of other classes and 2 of the same elsewhere"
    assert (line.n_slides, line.n_slides_given) == (0, 12) and math.isnan(line.index)
    (line,) = run_stage(tmp_path, [f"s{i},s{i}.tif,p{i},,c{i % 2}," for i in range(12)], equal, settings())
    assert (line.why, line.n_slides_given) == ("no slide has a value in column site", 0)
    lines = [f"s{i},s{i}.tif,p{i},,c{i % 2},{'AB'[i // 2 % 2]}" for i in range(12)]
    (line,) = run_stage(tmp_path, lines, equal, settings())
    assert "collapsed embedding or duplicated rows" in line.why and math.isnan(line.margin)

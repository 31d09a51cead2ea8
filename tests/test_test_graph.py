"""`test_graph`: planted structure is found, chance gives uniform p-values, patients do not pass for biology."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from slpd.__main__ import main
from slpd.analysis.neighbour_agreement import agreement_tests
from slpd.analysis.slide_properties import slide_properties
from slpd.artifacts.learned.graph_test import GraphTest, read_graph_test, write_graph_test
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays, write_slide_graph
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_record import SlideRecord

Properties = dict[str, list[str]]


def nearest(points: NDArray[np.float64], k: int = 2) -> NDArray[np.int32]:
    """The k nearest other points of each."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance.argsort(axis=1)[:, :k].astype(np.int32)


def cohort(
    seed: int, pull: float, sizes: tuple[int, ...] = (1, 1, 2, 3), n: int = 24
) -> tuple[Properties, NDArray[np.int32]]:
    """Patients of several sizes at random sites and classes, whose slides lie together; `pull`: sites lie together."""
    rng = np.random.default_rng(seed)
    slides_of = [sizes[i % len(sizes)] for i in range(n)]
    patients = [f"p{i}" for i, size in enumerate(slides_of) for _ in range(size)]
    sites, classes = rng.integers(0, 4, n), rng.integers(0, 2, n)
    points = np.array([pull * np.eye(4)[sites[i]] for i, size in enumerate(slides_of) for _ in range(size)])
    centres = np.repeat(rng.normal(size=(n, 4)), slides_of, axis=0)
    of_slides = {
        "patient": patients,
        "site": [f"site {sites[int(p[1:])]}" for p in patients],
        "class": [f"class {classes[int(p[1:])]}" for p in patients],
    }
    return of_slides, nearest(points + centres + 0.05 * rng.normal(size=points.shape))


def by_name(tests: list[GraphTest]) -> dict[str, GraphTest]:
    return {test.column: test for test in tests}


def test_a_graph_of_sites_shows_the_site_and_not_the_class() -> None:
    properties, neighbours = cohort(0, pull=6)
    found = by_name(agreement_tests(properties, neighbours, 999, 0))
    assert found["site"].p_value == 1 / 1000
    assert found["site"].p_adjusted <= 3 / 1000
    assert found["site"].ratio > 2
    assert found["class"].p_value > 0.05
    assert found["patient"].p_value == 1 / 1000  # slides of a patient are neighbours


def test_shares_are_those_counted_by_hand() -> None:
    """Two pairs of another patient agree in three; of all four pairs one is of one patient."""
    properties = {"patient": ["a", "a", "b", "c"], "kind": ["x", "x", "x", "y"]}
    neighbours = np.array([[1], [2], [0], [2]], np.int32)
    found = by_name(agreement_tests(properties, neighbours, 999, 0))
    kind, patient = found["kind"], found["patient"]
    assert (kind.n_slides, kind.n_values, kind.n_pairs, kind.observed) == (4, 2, 3, pytest.approx(2 / 3))
    assert (patient.n_pairs, patient.observed) == (4, pytest.approx(1 / 4))
    # Two of four slides, drawn at random, are of patient a in 1 of 6 draws for each pair of slides.
    assert patient.expected == pytest.approx(1 / 6, abs=0.03)
    # Only b and c can change places: half of the deals have kinds x x x y, half x x y x, which agree in 2 and 0.
    assert kind.expected == pytest.approx((2 / 3 + 0) / 2, abs=0.04)
    assert kind.p_value == pytest.approx(0.5, abs=0.05)


def p_values(column: str, n: int = 300) -> NDArray[np.float64]:
    """P-values of many cohorts whose graph follows patients alone."""
    tests = (by_name(agreement_tests(*cohort(seed, pull=0), 199, seed)) for seed in range(n))
    return np.array([found[column].p_value for found in tests])


@pytest.mark.slow
def test_by_chance_p_values_are_uniform() -> None:
    """Ties make a permutation test cautious, never rash: no more small p-values than their size."""
    found = p_values("class")
    assert kstest(found, "uniform").statistic < 0.11  # 1 % point for 300 is 0.094; ties add to it
    for level in (0.01, 0.05, 0.1, 0.2):
        assert (found <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / len(found))
    assert (found <= 0.5).mean() > 0.35  # nor does it always say no


def test_without_the_care_for_patients_chance_would_pass_for_biology() -> None:
    """The same cohorts, every slide called a patient of its own: the test then finds what is not there."""
    small = 0
    for seed in range(40):
        properties, neighbours = cohort(seed, pull=0)
        careless = properties | {"patient": [str(i) for i in range(len(properties["patient"]))]}
        small += by_name(agreement_tests(careless, neighbours, 199, seed))["class"].p_value <= 0.05
    assert small > 20


def test_order_of_properties_does_not_matter() -> None:
    properties, neighbours = cohort(3, pull=1)
    forwards = agreement_tests(properties, neighbours, 99, 0)
    backwards = agreement_tests(dict(reversed(properties.items())), neighbours, 99, 0)
    assert by_name(forwards) == by_name(backwards)


def test_what_cannot_tell_slides_apart_or_group_them_is_left_out() -> None:
    properties, neighbours = cohort(0, pull=0)
    n = len(properties["patient"])
    properties |= {"constant": ["x"] * n, "empty": [""] * n, "distinct": [str(i) for i in range(n)]}
    assert set(by_name(agreement_tests(properties, neighbours, 99, 0))) == {"patient", "site", "class"}


def test_unknown_values_and_slides_without_neighbours_do_not_count() -> None:
    properties, neighbours = cohort(0, pull=6)
    known = by_name(agreement_tests(properties, neighbours, 99, 0))["site"]
    properties["site"] = ["" if place < 10 else site for place, site in enumerate(properties["site"])]
    neighbours[10:20] = -1
    found = by_name(agreement_tests(properties, neighbours, 99, 0))["site"]
    patients = properties["patient"]
    pairs = [
        (i, j)
        for i, row in enumerate(neighbours.tolist())
        for j in row
        if j >= 0 and i >= 10 and j >= 10 and patients[i] != patients[j]
    ]
    assert found.n_pairs == len(pairs) < known.n_pairs
    agree = sum(properties["site"][i] == properties["site"][j] for i, j in pairs)
    assert found.observed == pytest.approx(agree / len(pairs))


def test_no_pair_no_figure() -> None:
    """All neighbours are of the same patient."""
    properties = {"patient": ["a", "a", "b", "b"], "kind": ["x", "x", "y", "y"]}
    tests = agreement_tests(properties, np.array([[1], [0], [3], [2]], np.int32), 99, 0)
    kind = by_name(tests)["kind"]
    assert (kind.n_pairs, kind.n_slides) == (0, 0)
    assert math.isnan(kind.p_value)
    assert math.isnan(kind.p_adjusted)
    assert by_name(tests)["patient"].p_adjusted == by_name(tests)["patient"].p_value  # one test alone


def row(slide: str, patient: str, **labels: str) -> SheetRow:
    return SheetRow(slide, f"{slide}.svs", patient, None, labels)


def test_sites_are_those_of_the_barcode_unless_the_sheet_has_them() -> None:
    rows = [row("TCGA-05-4244-01Z-00-DX1", "x"), row("s2", "TCGA-AR-A1AH"), row("TCGA-5-4244", "x"), row("s4", "p4")]
    assert slide_properties(rows, {"s2": 0.2522})["site"] == ["05", "AR", "", ""]
    assert slide_properties(rows, {"s2": 0.2522})["slide_mpp"] == ["", "0.252", "", ""]
    rows = [replace(one, labels={"site": "mine", "age": "4"}) for one in rows]
    found = slide_properties(rows, {})
    assert found["site"] == ["mine"] * 4
    assert list(found) == ["patient", "site", "slide_mpp", "age"]
    empty = slide_properties([row("TCGA-05-4244-01Z", "x", site="", age="")], {})
    assert (list(empty), empty["site"]) == (["patient", "site", "slide_mpp"], ["05"])


def test_file_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    properties, neighbours = cohort(0, pull=6)
    slides = [f"s{i:02}" for i in range(len(neighbours))]
    none = np.full((*neighbours.shape, 2), -1, np.int32)
    write_slide_graph(tmp_path / "g.npz", SlideGraphArrays(neighbours, neighbours * 0.0, none, slides))
    lines = [
        f"{slide},{slide}.svs,{patient},,{site}"
        for slide, patient, site in zip(slides, properties["patient"], properties["site"], strict=True)
    ]
    (tmp_path / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp,site", *reversed(lines)]) + "\n")
    records = [SlideRecord(slide=slide, path="x", slide_mpp=0.25 + 0.25 * (i % 2)) for i, slide in enumerate(slides)]
    write_manifest(tmp_path / "slides.csv", [ManifestRow(record, tmp_path / "x.h5") for record in records])

    def run() -> int:
        inputs = ["--graph", f"{tmp_path}/g.npz", "--sheet", f"{tmp_path}/sheet.csv"]
        options = ["--manifest", f"{tmp_path}/slides.csv", "--permutations", "199", "--seed", "0"]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sys.argv", ["slpd", "test_graph", *inputs, *options, "--out", f"{tmp_path}/t.csv"])
            return main()

    assert run() == 0
    found = by_name(read_graph_test(tmp_path / "t.csv"))
    assert list(found) == ["patient", "site", "slide_mpp"]
    assert found["site"] == replace(
        by_name(agreement_tests(properties, neighbours, 199, 0))["site"], p_adjusted=found["site"].p_adjusted
    )
    (tmp_path / "sheet.csv").write_text("slide,path,patient,mpp,site\ns00,a.svs,p,,x\n")
    assert run() == 2
    assert "sheet.csv: slides of the graph are not in it: s01, s02" in capsys.readouterr().err


def test_undefined_figures_survive_the_file(tmp_path: Path) -> None:
    nan = float("nan")
    write_graph_test(tmp_path / "t.csv", [GraphTest('a "b", <c>', 0, 0, 0, nan, nan, nan, nan, nan, 9)])
    (found,) = read_graph_test(tmp_path / "t.csv")
    assert found.column == 'a "b", <c>'
    assert all(math.isnan(value) for value in (found.observed, found.expected, found.ratio, found.p_value))

"""Folds that preserve sites: no site on both sides, classes as even as whole sites allow, or a clear message."""

import logging
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_cases import regression_task
from test_split_folds import run_stage, survival, survival_rows, task_of, write_cohort

from slpd.artifacts.evaluation.fold_balance import FoldBalance, read_balance
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide, read_folds, write_folds
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError
from slpd.evaluation.balance import fold_balance
from slpd.evaluation.cases import refuse_leaks
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.preserved_sites import blocks_of, site_warnings
from slpd.evaluation.site_folds import spread, unevenness
from slpd.evaluation.task_folds import make_folds, stratified_folds
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import GeneratedFolds
from slpd.tables.facts import preserved_text


def preserving(n_folds: int = 2, fraction: float = 0.2, seed: int = 0) -> GeneratedFolds:
    return GeneratedFolds(kind="generated", n_folds=n_folds, validation_fraction=fraction, seed=seed, preserve="site")


def at_sites(**sites: str) -> list[LabelledSlide]:
    """A patient with one slide per letter: x="AAB" is site x with three patients."""
    return [
        LabelledSlide(f"{site}_{i}", f"{site}_p{i}", label, site=site)
        for site, labels in sites.items()
        for i, label in enumerate(labels)
    ]


@st.composite
def cohorts(draw: st.DrawFn) -> list[LabelledSlide]:
    """Slides of both classes at four to nine sites, some patients with several slides."""
    sites = draw(st.lists(st.text("AB", min_size=2, max_size=8), min_size=4, max_size=9))
    slides = at_sites(all="AB", both="BA", **{f"s{i}": labels for i, labels in enumerate(sites)})
    again = [replace(slide, slide=f"{slide.slide}_again") for slide in slides if draw(st.integers(0, 4)) == 0]
    return slides + again


@given(cohorts(), st.integers(2, 4), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_no_site_and_no_patient_is_on_both_sides(slides: list[LabelledSlide], n_folds: int, seed: int) -> None:
    folds = generate_folds(["A", "B"], slides, preserving(n_folds, seed=seed))
    assert Counter(slide for fold in folds for slide in fold.test) == Counter(slides)  # every slide tested once
    for fold in folds:
        assert fold.test
        assert Counter(fold.train + fold.val + fold.test) == Counter(slides)
        learnt = fold.train + fold.val
        assert not {slide.site for slide in fold.test} & {slide.site for slide in learnt}
        assert not {slide.patient for slide in fold.test} & {slide.patient for slide in learnt}
        assert not {slide.patient for slide in fold.train} & {slide.patient for slide in fold.val}


def best_by_trying(shares: NDArray[np.float64], n_folds: int) -> float:
    """The least unevenness of all ways to deal out blocks."""
    ways = product(range(n_folds), repeat=len(shares))
    sums = (np.eye(n_folds)[list(way)].T @ shares for way in ways)
    return min(float(((of_folds - 1 / n_folds) ** 2).sum()) for of_folds in sums)


def test_the_spread_is_the_best_of_all_ways() -> None:
    rng = np.random.default_rng(0)
    for n_blocks, n_folds, n_classes in ((5, 2, 2), (7, 3, 2), (8, 3, 4), (6, 4, 3)) * 4:
        counts = rng.integers(0, 30, (n_blocks, n_classes)) + 1.0
        shares = counts / counts.sum(axis=0)
        found = unevenness(shares, spread(shares, n_folds, np.random.default_rng(1)), n_folds)
        assert found == pytest.approx(best_by_trying(shares, n_folds), abs=1e-12)


def test_sites_that_fit_evenly_are_spread_evenly() -> None:
    sizes = {"a": (12, 2), "b": (8, 8), "c": (5, 5), "d": (9, 1), "e": (6, 9), "f": (10, 5)}
    slides = at_sites(**{site: "A" * n + "B" * m for site, (n, m) in sizes.items()})
    folds = generate_folds(["A", "B"], slides, preserving(2))
    assert [Counter(slide.label for slide in fold.test) for fold in folds] == [{"A": 25, "B": 15}] * 2


def test_folds_do_not_depend_on_the_order_of_the_sheet() -> None:
    slides = at_sites(a="AAB", b="ABB", c="AB", d="AABB", e="AB")
    assert generate_folds(["A", "B"], slides, preserving()) == generate_folds(["A", "B"], slides[::-1], preserving())


def test_a_patient_of_two_sites_keeps_them_together() -> None:
    slides = at_sites(a="AB", b="AB", c="AB", d="AB")
    slides.append(LabelledSlide("more", "a_p0", "A", site="b"))
    assert sorted(sorted({slide.site for slide in block}) for block in blocks_of(slides)) == [["a", "b"], ["c"], ["d"]]
    folds = generate_folds(["A", "B"], slides, preserving())
    assert "patients with slides of several sites keep these together: sites a, b" in site_warnings(folds)


def check(slides: list[LabelledSlide], n_folds: int) -> None:
    check_task(task_of(preserving(n_folds)), slides)


def test_what_forbids_such_folds_is_one_clear_error() -> None:
    with pytest.raises(UserError, match=r"folds.preserve is site, but 2 of 6 labelled slides have none \(b_0, b_1\)"):
        check([replace(s, site="") if s.site == "b" else s for s in at_sites(a="AB", b="AB", c="AB")], 2)
    with pytest.raises(UserError, match=r"part the slides into 2 groups .* fewer than the 3 folds"):
        check(at_sites(a="AABB", b="AABB"), 3)
    with pytest.raises(
        UserError, match="all slides of 'B' are of site b, so that the fold that tests them cannot train"
    ):
        check(at_sites(a="AA", b="ABB", c="AA"), 2)
    check(at_sites(a="AB", b="AB"), 2)


def test_what_is_worth_knowing_is_said() -> None:
    slides = at_sites(big="A" * 9 + "B" * 9, b="A", c="B", d="AB", e="AA")
    folds = generate_folds(["A", "B"], slides, preserving(3))
    warnings = site_warnings(folds)
    assert "larger than a fold of 8 slides, so that folds differ in size: site big with 18" in warnings
    assert "slides of one class only: 3 of 5 sites (b, c, e)" in warnings
    draws = [replace(fold, train=fold.train[:n]) for fold in folds for n in (4, 5)]  # few-shot training sets
    assert site_warnings(draws)[:2] == warnings[:2]
    single = [Fold(test=at_sites(a="A", b="B")), Fold(test=at_sites(c="A"))]
    only = "every site has slides of one class only, so that class and site cannot be told apart"
    assert site_warnings(single) == [only]
    assert site_warnings([Fold(test=[replace(slide, site="") for slide in slides])]) == []


def test_the_site_is_the_columns_or_the_barcodes() -> None:
    def row(slide: str, **labels: str) -> SheetRow:
        return SheetRow(slide, f"{slide}.svs", slide[:12], None, {"class": "A", **labels})

    def sites(*rows: SheetRow, column: str = "site") -> list[str]:
        folds = preserving().model_copy(update={"preserve": column})
        return [slide.site for slide in labelled_slides(task_of(folds), rows)]

    barcodes = ("TCGA-05-4244-01Z-00-DX1", "TCGA-3C-AALI-01Z-00-DX1")
    assert sites(*map(row, barcodes)) == ["05", "3C"]
    assert sites(*(row(slide, site="X") for slide in barcodes)) == ["X", "X"]
    assert sites(row(barcodes[0], scanner="P1000"), column="scanner") == ["P1000"]
    assert sites(row(barcodes[0]), column="scanner") == sites(row("slide_1")) == [""]


def test_survival_tasks_preserve_sites_too() -> None:
    task = survival().model_copy(update={"folds": preserving()})
    rows = [
        replace(row, labels={**row.labels, "site": f"s{i // 2}"})
        for i, row in enumerate(survival_rows(**{f"p{i}": f"{i + 1} {i % 2}" for i in range(12)}))
    ]
    slides = labelled_slides(task, rows)
    check_task(task, slides)
    for fold in generate_folds(["0", "1"], slides, preserving()):
        assert Counter(slide.event for slide in fold.test) == {"0": 3, "1": 3}
        assert len({slide.site for slide in fold.test}) == 3


def test_regression_tasks_preserve_sites_too() -> None:
    """Two quarters of the values at each of eight sites; the balance counts quarters, the folds keep the values."""
    task = regression_task().model_copy(update={"folds": preserving()})
    rows = [
        SheetRow(f"s{i}", f"s{i}.tif", f"p{i}", None, {"age": str(40 + i), "site": f"at{i % 8}"}) for i in range(16)
    ]
    slides = labelled_slides(task, rows)
    check_task(task, slides)
    folds = make_folds(task, slides)
    assert {slide.label for slide in folds[0].slides} == {str(40 + i) for i in range(16)}
    strata, spread_folds = stratified_folds(task, folds)
    assert strata == [f"{i} of 4" for i in (1, 2, 3, 4)]
    balance = fold_balance(strata, spread_folds)
    assert [(line.n_slides, line.n_slides_even) for line in balance] == [(2, 2)] * 8
    for fold in folds:
        assert len({slide.site for slide in fold.test}) == 4
        refuse_leaks(0, fold, generated=True)
    assert preserved_text(task, folds).startswith(", no site of a test slide in training (8 in all; test slides of a")
    with pytest.raises(UserError, match="16 of 16 labelled slides have none"):
        check_task(task, [replace(slide, site="") for slide in slides])


def test_a_trained_site_is_refused_in_test() -> None:
    a, b = at_sites(a="AB"), at_sites(b="AB")
    refuse_leaks(0, Fold(train=a, test=b), generated=True)
    with pytest.raises(UserError, match="fold 3: site a is tested and trained"):
        refuse_leaks(3, Fold(train=a[:1] + b, test=a[1:]), generated=True)


def test_folds_file_keeps_sites(tmp_path: Path) -> None:
    folds = [Fold(train=at_sites(a="A"), test=at_sites(b="B"))]
    write_folds(tmp_path / "folds.csv", folds)
    assert read_folds(tmp_path / "folds.csv") == folds


def test_the_stage_states_the_balance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slides = [
        LabelledSlide(f"TCGA-{site}-000{i}-01Z", f"TCGA-{site}-000{i}", "AB"[i % 2])
        for site, n in (("05", 6), ("3C", 4), ("44", 2))
        for i in range(n)
    ]
    files = write_cohort(tmp_path, slides)
    task = task_of(preserving())
    run_stage([*files, "--task", task.model_dump_json(), "--out", str(tmp_path / "folds.csv")])
    balance = read_balance(tmp_path / "balance.csv")
    assert sorted(balance, key=lambda line: (line.sites, line.stratum)) == [
        FoldBalance(line.fold, stratum, 3, 3, 3.0, sites)
        for sites, stratum in (("05 (3)", "A"), ("05 (3)", "B"), ("3C (2); 44 (1)", "A"), ("3C (2); 44 (1)", "B"))
        for line in balance
        if line.sites == sites and line.stratum == stratum
    ]
    assert "test slides of a fold: A 3 to 3 (3 if even), B 3 to 3 (3 if even)" in caplog.text
    assert preserved_text(task, read_folds(tmp_path / "folds.csv")) == (
        ", no site of a test slide in training (3 in all; test slides of a fold: A 3 to 3 (3 if even), B 3 to 3 (3 if"
        " even))"
    )
    assert preserved_text(task_of(preserving().model_copy(update={"preserve": None})), []) == ""

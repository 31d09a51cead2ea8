"""Metrics of parts of the test cases: by hand, in bands and groups, small ones named; gaps by chance have uniform p."""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from numpy.typing import NDArray
from rerun_table import merged
from scipy import stats
from sklearn.metrics import roc_auc_score
from small_cases import class_task, regression_task, survival_task
from test_intervals import fold_tests

from slpd.artifacts.evaluation.fold_metrics import FoldMetrics, write_fold_metrics
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.artifacts.evaluation.predictions import FoldPredictions, write_predictions
from slpd.artifacts.evaluation.subgroup_tables import SubgroupFigure, SubgroupGap, read_figures, read_gaps
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError
from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import FoldReference, reference_of_text
from slpd.evaluation.intervals import metric_intervals
from slpd.evaluation.subgroup_values import groups_of, in_order
from slpd.evaluation.subgroups import TestedCases, gap_of, group_interval, largest_gaps, metrics_over_folds
from slpd.inputs import check_columns
from slpd.settings.evaluation import Intervals, TaskSettings
from slpd.settings.load import load_experiment
from slpd.settings.subgroups import SubgroupColumn, Subgroups
from slpd.settings.tables import Metric, metrics_of
from slpd.stages import compare_subgroups

INTERVALS = Intervals(n_resamples=200, level=0.95, seed=0)
THRESHOLDS = (0.62, 0.77, 0.87)  # of each fold of `drawn`, half way between the classes


def settings(*columns: SubgroupColumn, least: int = 2, permutations: int = 199) -> Subgroups:
    return Subgroups(columns=list(columns), min_patients=least, permutations=permutations, seed=0)


def cases_of(
    folds: NDArray[np.int64], patients: NDArray[np.int64], classes: NDArray[np.int64], scores: NDArray[np.float64]
) -> TestedCases:
    """Cases of two classes; the score is the probability of the second, positive from THRESHOLDS of the fold on."""
    n = len(folds)
    truth = Outcomes(classes, np.ones(n, bool), np.full(n, np.nan))
    references = {number: FoldReference(np.array([np.nan, cut])) for number, cut in enumerate(THRESHOLDS)}
    return TestedCases("subtyping", folds, patients, classes, truth, np.stack([1 - scores, scores], axis=1), references)


def drawn(rng: np.random.Generator, n: int = 60, shift: float = 1.0) -> TestedCases:
    """Patients with one or two slides in three folds, whose scores share the patient's part and tell classes apart."""
    patients = np.repeat(np.arange(n), 1 + (np.arange(n) % 4 == 0))
    of_patient = rng.normal(size=n)
    classes, folds = (np.arange(n) % 2)[patients], (np.arange(n) % 3)[patients]
    scores = of_patient[patients] + 0.5 * rng.normal(size=len(patients)) + shift * classes + 0.7 * folds
    return cases_of(folds, patients, classes, 1 / (1 + np.exp(-scores)))


def test_a_group_has_the_weighted_mean_of_its_folds() -> None:
    cases = drawn(np.random.default_rng(0))
    group = np.random.default_rng(1).random(len(cases)) < 0.5
    found = metrics_over_folds(cases, group[None].astype(float))
    aucs, sizes, right = [], [], []
    for fold in range(3):
        chosen = group & (cases.folds == fold)
        aucs.append(roc_auc_score(cases.outcomes.numbers[chosen], cases.outputs[chosen, 1]))
        sizes.append(chosen.sum())
        right += (cases.outputs[chosen].argmax(axis=1) == cases.outcomes.numbers[chosen]).tolist()
    assert found["auc"][0] == pytest.approx(np.average(aucs, weights=sizes))
    assert found["accuracy"][0] == pytest.approx(np.mean(right))  # weighted by cases: the share of all cases


@pytest.mark.parametrize(("metric", "positive"), [("sensitivity", True), ("specificity", False)])
def test_sensitivity_and_specificity_are_counted_at_the_threshold_of_each_fold(metric: Metric, positive: bool) -> None:
    cases = drawn(np.random.default_rng(0))
    group = np.random.default_rng(1).random(len(cases)) < 0.5
    shares, sizes = [], []
    for fold in range(3):
        here = group & (cases.folds == fold)
        asked = here & ((cases.outcomes.numbers == 1) == positive)
        shares.append(np.mean((cases.outputs[asked, 1] >= THRESHOLDS[fold]) == positive))
        sizes.append(here.sum())
    found = metrics_over_folds(cases, group[None].astype(float))[metric]
    assert found[0] == pytest.approx(np.average(shares, weights=sizes))


def test_thresholds_are_read_as_they_are_written() -> None:
    for thresholds, rows in (([np.nan, 0.25], "0.25"), ([0.1, 0.2, 0.3], "0.1 0.2 0.3"), ([np.nan, np.nan], "nan")):
        written = FoldReference(np.array(thresholds))
        assert written.thresholds_text == rows
        np.testing.assert_array_equal(reference_of_text(rows).thresholds, written.thresholds)  # type: ignore[arg-type]
    assert reference_of_text("").thresholds is None  # of survival and regression


def test_folds_in_which_a_metric_is_not_defined_do_not_count() -> None:
    folds, classes = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 1])
    cases = cases_of(folds, np.arange(5), classes, np.array([0.6, 0.7, 0.4, 0.2, 0.9]))
    found = metrics_over_folds(cases, np.ones((1, 5)))
    assert found["auc"][0] == 0.5  # fold 0: one pair of two in order; fold 1 has one class
    assert found["accuracy"][0] == pytest.approx(2 / 5)


def test_the_interval_of_all_cases_is_about_that_of_the_evaluation() -> None:
    cases = drawn(np.random.default_rng(2), n=90)
    value, low, high = group_interval(cases, 2000, 0.95, np.random.default_rng(0))["accuracy"]
    parts = [cases.where(cases.folds == fold) for fold in range(3)]
    tests = fold_tests([list(map(str, p.patients)) for p in parts], [p.outcomes.numbers.tolist() for p in parts])
    references = [cases.references[fold] for fold in range(3)]
    whole = metric_intervals("subtyping", tests, [p.outputs for p in parts], INTERVALS, references)["accuracy"]
    assert (value, low, high) == pytest.approx((whole.mean, whole.low, whole.high), abs=0.03)


@pytest.mark.slow
def test_intervals_of_groups_cover_the_truth() -> None:
    """95 % intervals of 300 groups of 60 patients with two slides each, over five folds: of AUC 0.8.

    The threshold is half way between the classes.
    """
    rng, shift = np.random.default_rng(0), math.sqrt(2) * stats.norm.ppf(0.8)  # AUC = Phi(shift / sqrt 2)
    half = FoldReference(np.array([np.nan, 1 / (1 + math.exp(-shift / 2))]))
    truth: dict[Metric, float] = {"auc": 0.8} | dict.fromkeys(("specificity", "sensitivity"), stats.norm.cdf(shift / 2))
    covered = dict.fromkeys(truth, 0)
    for _ in range(300):
        patients = np.repeat(np.arange(60), 2)
        classes, folds = rng.integers(0, 2, 60)[patients], rng.integers(0, 5, 60)[patients]
        scores = rng.normal(size=60)[patients] * math.sqrt(0.6) + rng.normal(size=120) * math.sqrt(0.4)
        group = cases_of(folds, patients, classes, 1 / (1 + np.exp(-scores - shift * classes)))
        group = replace(group, references=dict.fromkeys(range(5), half))
        intervals = group_interval(group, 400, 0.95, rng)
        for metric, value in truth.items():
            covered[metric] += intervals[metric][1] <= value <= intervals[metric][2]
    assert all(0.90 <= count / 300 <= 0.99 for count in covered.values()), covered


def test_a_planted_gap_is_found_and_a_calibration_error_has_no_interval() -> None:
    rng = np.random.default_rng(3)
    cases = drawn(rng, n=120, shift=3.0)
    groups = (np.arange(120) // 12 % 2)[cases.patients]
    worse = np.where(groups[:, None] == 1, rng.permutation(cases.outputs), cases.outputs)
    gaps = largest_gaps(replace(cases, outputs=worse), groups, 499, rng)
    assert gaps["auc"].p_value == 1 / 500
    assert (gaps["auc"].lowest, gaps["auc"].highest, gaps["auc"].n_groups) == (1, 0, 2)
    assert gaps["auc"].gap > 0.3
    assert gaps["sensitivity"].p_value == 1 / 500
    assert np.isnan(group_interval(cases, 100, 0.95, rng)["ece"][1:]).all()


@pytest.mark.slow
def test_p_is_uniform_where_groups_do_not_matter() -> None:
    """Groups that differ in size and in how many of each class they hold, and patients with several slides."""
    rng, ps = np.random.default_rng(4), []
    metrics: tuple[Metric, ...] = ("sensitivity", "specificity", "auc", "accuracy")
    for _ in range(400):
        cases = drawn(rng)
        prevalence = np.where(np.arange(60) % 2 == 0, 0.3, 0.6)
        groups = (rng.random(60) < prevalence).astype(np.int64) + (rng.random(60) < 0.3)
        gaps = largest_gaps(cases, groups[cases.patients], 99, rng)
        ps.append([gaps[metric].p_value for metric in metrics])
    found = np.array(ps)
    rejected = (found <= 0.05).mean(axis=0)
    assert (rejected >= 0.02).all() and (rejected <= 0.09).all(), rejected
    for of_metric in found.T[2:]:  # shares of few cases are often equal in two permutations, which makes p too large
        assert stats.kstest(of_metric - rng.random(400) / 100, "uniform").pvalue > 0.01  # p has steps of 1 / 100


def test_permutations_keep_the_classes_of_every_group_in_every_fold() -> None:
    """So groups that merely hold other classes do not differ: all gaps of the accuracy are the same."""
    folds, patients = np.zeros(40, np.int64), np.arange(40)
    classes = np.repeat([0, 1], 20)
    groups = np.where(np.arange(40) % 20 < 5, 1 - classes, classes)
    always_second = cases_of(folds, patients, classes, np.full(40, 0.9))
    found = largest_gaps(always_second, groups, 99, np.random.default_rng(0))["accuracy"]
    assert found.gap == pytest.approx(0.5) and found.p_value == 1


def test_groups_that_no_fold_tests_together_have_a_gap_and_no_p() -> None:
    """As sites that folds preserve."""
    cases = drawn(np.random.default_rng(5))
    gap = largest_gaps(cases, cases.folds, 99, np.random.default_rng(0))["auc"]
    assert gap.gap > 0 and math.isnan(gap.p_value)


def test_gaps_are_of_groups_that_have_the_metric() -> None:
    values = np.array([[0.5, 0.9, 0.1], [0.9, 0.6, 0.2], [np.nan, 0.5, 0.9]])
    gap = gap_of(values)
    assert (gap.lowest, gap.highest, gap.n_groups) == (0, 1, 2)
    assert gap.gap == pytest.approx(0.4)
    assert gap.p_value == pytest.approx(3 / 3)  # gaps 0.4, 0.4, 0.8
    assert math.isnan(gap_of(values[1:]).p_value)


def test_numbers_are_cut_and_words_are_not() -> None:
    rows = [SheetRow(f"s{i}", "x.svs", f"p{i}", None, {"age": age}) for i, age in enumerate(("49.9", "50", "65", ""))]
    age = SubgroupColumn(column="age", edges=[50, 65])
    groups = groups_of(age, rows)
    assert groups == {"s0": "below 50", "s1": "50 to below 65", "s2": "65 and above", "s3": ""}
    assert in_order(age, ["65 and above", "below 50", ""]) == ["below 50", "65 and above"]
    assert groups_of(SubgroupColumn(column="age"), rows)["s0"] == "49.9"
    rows.append(SheetRow("s4", "x.svs", "p4", None, {"age": "old"}))
    with pytest.raises(UserError, match="column age of slide s4 is 'old', which is no number to cut at 50, 65"):
        groups_of(age, rows)
    barcode = SheetRow("TCGA-05-4244-01Z", "x.svs", "p5", None, {})
    assert groups_of(SubgroupColumn(column="site"), [barcode]) == {"TCGA-05-4244-01Z": "05"}


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for subgroups, message in (
        ([{"column": "age", "edges": [65, 50]}], r"edges: \[65.0, 50.0\] do not rise"),
        ([{"column": "sex"}, {"column": "sex"}], "sex, sex has a column twice"),
    ):
        with pytest.raises(UserError, match=message):
            load_experiment(merged({**toy.TOY, "subgroups": {"columns": subgroups}}))


def test_a_column_that_no_sheet_has_is_refused_when_the_workflow_starts() -> None:
    experiment = load_experiment(merged({**toy.TOY, "subgroups": {"columns": [{"column": "sexx"}]}}))
    rows = {"s0": SheetRow("s0", "x.svs", "p0", None, {"dx": "a", "sex": "f"})}
    with pytest.raises(UserError, match=r"subgroups.columns: no sheet of toy has values in a column 'sexx'"):
        check_columns(experiment, {"toy": rows})


# ---- the stage ----


def write_evaluation(folder: Path, task: TaskSettings, cases: list[list[LabelledSlide]]) -> Path:
    """Two folds that test half of the cases each, in order; scores rise with the number of the case."""
    outputs = np.linspace(0.1, 0.9, len(cases))
    rows = np.stack([1 - outputs, outputs], axis=1)[:, -len(task.outputs) :]
    half = len(cases) // 2
    words = (["c0"] * half, [""] * half)  # what is predicted, and risk groups
    folds = [FoldPredictions(cases[p], words[0], rows[p], words[1]) for p in (slice(0, half), slice(half, None))]
    path = folder / "slpd" / "knn"
    path.mkdir(parents=True)
    source = (task.name, "slpd", "knn")
    write_predictions(path / "predictions.csv", source, task.outputs, folds)
    thresholds = "0.45" if len(task.outputs) == 2 and task.kind == "subtyping" else ""
    write_fold_metrics(path / "metrics.csv", [FoldMetrics(*source, fold, thresholds=thresholds) for fold in (0, 1)])
    return path


def run_stage(
    folder: Path, task: TaskSettings, cases: list[list[LabelledSlide]], sheet: str, subgroups: Subgroups
) -> tuple[list[SubgroupFigure], list[SubgroupGap]]:
    (folder / "sheet.csv").write_text(sheet)
    parser = argparse.ArgumentParser()
    compare_subgroups.add_arguments(parser)
    arguments = ["--sheet", str(folder / "sheet.csv"), "--gaps", str(folder / "gaps.csv")]
    arguments += ["--task", task.model_dump_json(), "--settings", subgroups.model_dump_json()]
    arguments += ["--evaluations", str(write_evaluation(folder, task, cases)), "--out", str(folder / "subgroups.csv")]
    compare_subgroups.run(parser.parse_args([*arguments, "--intervals", INTERVALS.model_dump_json()]))
    return read_figures(folder / "subgroups.csv"), read_gaps(folder / "gaps.csv")


def sheet_of(values: dict[str, str], column: str) -> str:
    lines = [f"{slide},{slide}.tif,{slide},,{value}" for slide, value in values.items()]
    return "\n".join([f"slide,path,patient,mpp,{column}", *lines]) + "\n"


def test_the_stage_names_small_groups_and_gives_them_no_figures(tmp_path: Path) -> None:
    cases = [[LabelledSlide(f"s{i:02d}", f"p{i}", f"c{i % 2}")] for i in range(24)]
    scanner = {f"s{i:02d}": ("A", "B")[i % 4 > 1] if i < 20 else ("C", "C", "C", "")[i - 20] for i in range(24)}
    sheet = sheet_of(scanner, "scanner")
    column = SubgroupColumn(column="scanner")
    figures, gaps = run_stage(tmp_path, class_task(), cases, sheet, settings(column, least=4))
    sizes = {one.group: (one.n_cases, one.n_patients, one.why) for one in figures}
    assert sizes == {
        "A": (10, 10, ""),
        "B": (10, 10, ""),
        "C": (3, 3, "fewer than 4 patients"),
        "": (1, 1, "no value in the sheet, or slides that differ in it"),
    }
    assert all(math.isnan(one.value) == bool(one.why) for one in figures)
    (auc,) = (one for one in figures if (one.group, one.metric) == ("A", "auc"))
    in_folds = [(f % 4 < 2, f % 2, f) for f in range(20)]  # scanner A: cases 0, 1, 4, 5, ...
    of_a = [(i % 2, i) for chosen, _, i in in_folds if chosen]
    hand = [
        np.mean([p > q for y, p in part if y for z, q in part if not z])
        for part in ([c for c in of_a if c[1] < 12], [c for c in of_a if c[1] >= 12])
    ]
    assert auc.value == pytest.approx((6 * hand[0] + 4 * hand[1]) / 10)
    (sensitivity,) = (one for one in figures if (one.group, one.metric) == ("A", "sensitivity"))
    reached = [[0.1 + 0.8 / 23 * i >= 0.45 for y, i in of_a if y and (i < 12) == first] for first in (True, False)]
    assert sensitivity.value == pytest.approx((6 * np.mean(reached[0]) + 4 * np.mean(reached[1])) / 10)
    assert 0 < sensitivity.value < 1 and not math.isnan(sensitivity.low)
    assert {gap.metric for gap in gaps} == {one.metric for one in figures} == set(metrics_of("subtyping"))
    assert all({gap.lowest, gap.highest} <= {"A", "B"} and gap.n_permutations == 199 for gap in gaps)
    assert all(1 / 200 <= gap.p_value <= 1 for gap in gaps)


def test_patients_are_in_a_group_if_all_their_slides_are(tmp_path: Path) -> None:
    """And a task of patients counts these, a survival task has its c-index."""
    cases = [
        [LabelledSlide(f"s{i:02d}", f"p{i}", f"{30 - i}", "1"), LabelledSlide(f"t{i:02d}", f"p{i}", f"{30 - i}", "1")]
        for i in range(12)
    ]
    sex = {f"{slide}{i:02d}": "fm"[i % 2] for slide in "st" for i in range(12)} | {"t00": "m"}
    task = survival_task(2).model_copy(update={"level": "patient"})
    figures, gaps = run_stage(tmp_path, task, cases, sheet_of(sex, "sex"), settings(SubgroupColumn(column="sex")))
    assert [(one.group, one.metric, one.n_cases) for one in figures] == [
        ("f", "c_index", 5),
        ("m", "c_index", 6),
        ("", "c_index", 1),
    ]
    values = [one.value for one in figures[:2]]
    assert set(values) <= {0.0, 1.0} and values[0] == values[1]  # scores fall or rise with time throughout
    assert [(gap.gap, gap.p_value) for gap in gaps] == [(0, 1)]


def test_a_regression_has_figures_of_groups_and_no_gaps(tmp_path: Path) -> None:
    """Values as the scores, 0.1 to 0.9 in steps of 0.8 / 7, but in group m too high by 0.1."""
    values = np.linspace(0.1, 0.9, 8) + np.tile([0, 0.1], 4)
    cases = [[LabelledSlide(f"s{i:02d}", f"p{i}", str(value))] for i, value in enumerate(values)]
    sheet = sheet_of({f"s{i:02d}": "fm"[i % 2] for i in range(8)}, "sex")
    figures, gaps = run_stage(tmp_path, regression_task(), cases, sheet, settings(SubgroupColumn(column="sex")))
    errors = {one.group: one.value for one in figures if one.metric == "mae"}
    assert errors == {"f": pytest.approx(0), "m": pytest.approx(0.1)}
    assert {one.metric for one in figures} == {"r2", "mae", "pearson", "spearman"}
    assert gaps == []


def test_a_cohort_without_the_column_has_no_lines(tmp_path: Path) -> None:
    cases = [[LabelledSlide(f"s{i:02d}", f"p{i}", f"c{i % 2}")] for i in range(4)]
    sheet = sheet_of({f"s{i:02d}": "x" for i in range(4)}, "scanner")
    assert run_stage(tmp_path, class_task(), cases, sheet, settings(SubgroupColumn(column="sex"))) == ([], [])

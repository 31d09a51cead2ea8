"""Risk groups, their curves and tests: cut at the training median, counted by hand, or with a reason."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from small_cases import survival_task
from test_make_table import content_of, evaluation, table_of

from slpd.artifacts.evaluation.predictions import Prediction
from slpd.evaluation.risk_groups import log_rank, risk_groups
from slpd.plots.style import drawing
from slpd.report.navigation import page_name
from slpd.report.result_figures import Evaluated
from slpd.report.results_page import TaskResults, write_results
from slpd.report.site import Link, Site
from slpd.report.subgroups_part import SubgroupResults
from slpd.report.survival_figures import survival_figures


def cases_of(seed: int = 0, n: int = 60, effect: float = 1.0) -> list[Prediction]:
    """Test cases of three folds; those of the high group have events earlier."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        value = rng.normal()
        time, follow_up = rng.exponential(30 * np.exp(-effect * value)), rng.uniform(5, 90)
        known = (f"p{i}", f"{min(time, follow_up):.1f}", str(int(time <= follow_up)))
        cases.append(Prediction(i % 3, (f"s{i}",), *known, f"{value}", "high" if value > 0 else "low", (0.5,)))
    return cases


def test_groups_are_cut_at_the_median_risk_of_training() -> None:
    training = np.array([[0.1], [0.2], [0.3], [0.4], [0.9]])
    assert risk_groups(np.array([[0.25], [0.3], [0.35]]), training) == ["low", "low", "high"]


def test_the_log_rank_test_is_bland_and_altmans() -> None:
    """BMJ 328, 2004: two kinds of glioma, p = 0.006."""
    seen_x, right_x = [6, 13, 21, 30, 37, 38, 49, 50, 63, 79, 86, 98, 202, 219], [31, 47, 80, 82, 82, 149]
    seen_y = [10, 10, 12, 13, 14, 15, 16, 17, 18, 20, 24, 24, 25, 28, 30, 33, 35, 37, 40, 40, 46, 48, 76, 81, 82, 91]
    seen_y, right_y = [*seen_y, 112, 181], [34, 40, 70]
    times = np.array([*seen_x, *right_x, *seen_y, *right_y], float)
    seen = np.repeat([True, False, True, False], [14, 6, 28, 3])
    found = log_rank(np.arange(51) >= 20, times, seen, 51)
    assert found.p_value == pytest.approx(0.00618, abs=1e-5)
    assert found.statistic == pytest.approx(2.73799, abs=1e-5)
    assert found.statistic**2 == pytest.approx(stats.chi2.isf(found.p_value, 1))


def test_groups_that_cannot_be_compared_say_why() -> None:
    times, seen, high = np.array([1.0, 2, 3, 4]), np.full(4, True), np.array([True, True, False, False])
    assert log_rank(high, times, seen, 3).why == "patients with several test cases are not independent evidence"
    assert log_rank(high & False, times, seen, 4).why == "all cases are in the low group"
    assert log_rank(high | True, times, seen, 4).why == "all cases are in the high group"
    assert log_rank(high, times, ~seen, 4).why == "no event was seen"
    last = log_rank(high, times, times == 4, 4)
    assert last.why == "no event was seen while both groups were followed" and math.isnan(last.p_value)


def test_the_file_of_curves_has_numbers_at_risk_of_all_folds_and_of_each() -> None:
    cases = cases_of()
    with drawing():
        (figure,) = survival_figures(survival_task(), [Evaluated("slpd", "abmil", [], [], cases)])
    header, *lines = figure.numbers
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert {row["fold"] for row in rows} == {"all", "0", "1", "2"}
    for row in rows:
        members = [c for c in cases if c.group == row["group"] and row["fold"] in ("all", str(c.fold))]
        times = np.array([float(case.label) for case in members])
        assert row["n_at_risk"] == (times >= row["time"]).sum()
        assert row["n_events"] == sum(c.event == "1" and float(c.label) == row["time"] for c in members)
    assert figure.kind == "survival-abmil"


def test_the_page_of_a_survival_task_shows_curves_and_tests(tmp_path: Path) -> None:
    """One variant's groups differ; the other's second fold has no event."""
    weak = cases_of(seed=1, effect=0.0)
    weak = [replace(case, event="0") if case.fold == 1 else case for case in weak]
    rows = [evaluation("dino", [0.5, 0.6, 0.5], [], "os"), evaluation("slpd", [0.7, 0.8, 0.7], [], "os")]
    table = table_of(tasks=["os"], metrics=["c_index"])
    content = content_of(rows, label="B", tasks=["os"], metrics=["c_index"])
    evaluations = [
        Evaluated(name, "knn", row.folds, row.intervals, cases)
        for name, row, cases in zip(("dino", "slpd"), rows, (weak, cases_of(effect=1.5)), strict=True)
    ]
    site = Site(tmp_path, "demo", [Link(page_name("results", "main"), "main")])
    results = TaskResults(survival_task(), content.tasks[0], evaluations, SubgroupResults([], []), {})
    with drawing():
        write_results(site, table, content, [results], [], "d.csv")
    page = (tmp_path / page_name("results", "main")).read_text()
    assert "no event was seen" in page and "Log-rank tests of the risk groups" in page
    tests = list(csv.DictReader((tmp_path / "data/main-os-log-rank.csv").read_text().splitlines()))
    pooled = {line["variant"]: line for line in tests if line["fold"] == "all"}
    assert float(pooled["slpd"]["p"]) < 0.001 < float(pooled["dino"]["p"])
    (fold_1,) = (line for line in tests if (line["variant"], line["fold"]) == ("dino", "1"))
    assert (fold_1["p"], fold_1["not tested, because"]) == ("–", "no event was seen")
    assert (tmp_path / "figures/main-os-survival-knn.pdf").exists()

"""Figures over several seeds of pretraining: the estimator, its coverage, and what a table makes of it."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_intervals import fold_tests
from test_make_table import content_of, evaluation

from slpd.artifacts.evaluation.resamples import write_resamples
from slpd.errors import UserError
from slpd.evaluation.comparison import bootstrap_difference, paired_difference
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.intervals import metric_intervals
from slpd.evaluation.seeds import Part, over_seeds, student
from slpd.settings.evaluation import Intervals
from slpd.tables.csv_table import as_csv, differences_as_csv
from slpd.tables.evaluations import Evaluation
from slpd.tables.markdown import as_markdown

SEEDS, FOLDS = 3, 5
REPEATS = {"dino": ["dino"], "slpd": ["slpd", "slpd.seed1", "slpd.seed2"]}


def test_an_interval_of_two_sources_by_hand() -> None:
    """Errors of 0.2 and 0.3 with 2 and 4 degrees of freedom: t is 4.303 and 2.776 (any table of t)."""
    low, high, p_value = student(0.6, [Part(0.04, 2), Part(0.09, 4)], 0.95)
    half = math.sqrt((4.303 * 0.2) ** 2 + (2.776 * 0.3) ** 2)
    assert (low, high) == pytest.approx((0.6 - half, 0.6 + half), abs=1e-3)
    end, _, _ = student(0.6, [Part(0.04, 2), Part(0.09, 4)], 1 - p_value)
    assert end == pytest.approx(0, abs=1e-9) and 0.05 < p_value < 0.5


def test_a_mean_far_from_zero_has_a_p_value_near_it() -> None:
    assert student(50.0, [Part(0.04, 30), Part(0.05, 40)], 0.95)[2] == pytest.approx(0, abs=1e-11)
    assert student(0.0, [Part(0.04, 30), Part(0.05, 40)], 0.95)[2] == 1


def test_without_variance_only_zero_is_tested() -> None:
    assert student(0.0, [Part(0.0, 2)], 0.95) == (0, 0, 1)
    low, high, p_value = student(0.3, [Part(0.0, 2), Part(0.0, 4)], 0.95)
    assert (low, high) == (0.3, 0.3) and math.isnan(p_value)


def test_one_patient_is_no_source() -> None:
    """Its resamples are all the same, but for rounding."""
    drawn = (np.full(1000, 0.3) + 1e-16, np.zeros(1000))
    found = bootstrap_difference([[0.9], [0.7]], [[0.5]], drawn, 0.95, 1)
    assert found.low == pytest.approx(0.3 - stats.t.ppf(0.975, 1) * 0.1) and 0 < found.p_value < 1
    none = bootstrap_difference([[0.9], [0.9]], [[0.5]], drawn, 0.95, 1)
    assert math.isnan(none.p_value) and "leave noise" in none.why


def test_one_seed_is_the_test_of_folds_alone() -> None:
    first, second = [0.8, 0.7, 0.9], [0.6, 0.65, 0.7]
    assert paired_difference([first], [second], 0.1, 0.95) == paired_difference(first, second, 0.1, 0.95)


def test_seeds_that_agree_leave_the_interval_of_folds() -> None:
    """No variance between seeds: the test is that of folds, with its degrees of freedom."""
    first, second = np.tile([0.8, 0.7, 0.9], (3, 1)), np.tile([0.6, 0.65, 0.7], (3, 1))
    assert paired_difference(first, second, 0.1, 0.95) == paired_difference(first[0], second[0], 0.1, 0.95)


def test_a_variant_without_seeds_meets_every_seed_of_the_other() -> None:
    first, second = np.array([[0.8, 0.7], [0.9, 0.9]]), np.array([[0.5, 0.5]])
    found = paired_difference(first, second, 0.5, 0.95)
    folds, seeds = np.array([0.35, 0.3]), np.array([0.25, 0.4])
    parts = [Part((1 / 2 + 0.5) * folds.var(ddof=1), 1), Part(seeds.var(ddof=1) / 2, 1)]
    assert (found.mean, found.n_folds) == (pytest.approx(0.325), 2)
    assert (found.low, found.high, found.p_value) == pytest.approx(student(0.325, parts, 0.95))


def test_a_fold_without_a_figure_with_some_seed_counts_with_none() -> None:
    points = np.array([[0.5, 0.6, np.nan], [0.7, 0.8, 0.9]])
    found = over_seeds(points, np.empty((2, 0)), 0, 0.95, (0, 1))
    assert (found.mean, found.n_folds) == (pytest.approx(0.65), 2)
    assert found.std == pytest.approx(np.std([0.55, 0.75], ddof=1)) and math.isnan(found.low)
    assert over_seeds(np.full((2, 3), np.nan), np.empty((2, 0)), 0, 0.95, (0, 1)).n_folds == 0


def test_an_interval_ends_where_the_metric_does() -> None:
    points, rng = np.array([[0.99, 0.98], [0.9, 0.92]]), np.random.default_rng(0)
    found = over_seeds(points, 0.95 + 0.02 * rng.standard_normal((2, 50)), 20, 0.95, (0, 1))
    assert found.high == 1 and 0 <= found.low < found.mean


# ---- coverage ----


def drawn_evaluations(rng: np.random.Generator, spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC of (seeds, folds), and of (seeds, resamples).

    Five folds of 30 patients; a seed shifts all scores of the positive class by `spread` on average, and is wrong about
    patients of its own on top of those that are hard for every seed.
    """
    shifts = rng.normal(stats.norm.ppf(0.8) * math.sqrt(2), spread, SEEDS)
    tests = fold_tests(
        [[f"p{fold}_{i}" for i in range(30)] for fold in range(FOLDS)], [[i % 2 for i in range(30)]] * FOLDS
    )
    hard = rng.normal(size=(FOLDS, 30))
    points, resampled = [], []
    for shift in shifts:
        scores = [
            math.sqrt(0.7) * of_fold + math.sqrt(0.3) * rng.normal(size=30) + shift * (np.arange(30) % 2)
            for of_fold in hard
        ]
        outputs = [np.stack([1 - p, p], axis=1) for p in (1 / (1 + np.exp(-score)) for score in scores)]
        settings = Intervals(n_resamples=200, level=0.95, seed=0)
        found = metric_intervals("subtyping", tests, outputs, settings, [FoldReference(np.full(2, 0.5))] * FOLDS)["auc"]
        points.append([auc(score) for score in scores])
        resampled.append(found.resampled)
    return np.array(points), np.stack(resampled)


def auc(scores: NDArray[np.float64]) -> float:
    """Share of pairs of the two classes, which alternate, in the right order."""
    return float((scores[1::2, None] > scores[None, ::2]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.15, 0.5])
def test_intervals_over_seeds_cover_the_truth(spread: float) -> None:
    """The AUC expected of any seed on any patients, from 150 evaluations with three seeds each."""
    rng = np.random.default_rng(5)
    shift = stats.norm.ppf(0.8) * math.sqrt(2) + spread * np.random.default_rng(0).standard_normal(100_000)
    truth = float(stats.norm.cdf(shift / math.sqrt(2)).mean())
    covered = 0
    for _ in range(150):
        found = over_seeds(*drawn_evaluations(rng, spread), FOLDS * 30, 0.95, (0, 1))
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 150 <= 0.99, covered


def drawn_differences(rng: np.random.Generator, of_seeds: float, of_folds: float) -> NDArray[np.float64]:
    """(3, 10) differences with a mean of 0: of seeds, of folds that share training slides, and of their pairs.

    Folds have the correlation 1 / 10 = test / (train + test), as Nadeau & Bengio assume.
    """
    folds = math.sqrt(0.1) * rng.normal() + math.sqrt(0.9) * rng.normal(size=10)
    return of_seeds * rng.normal(size=(3, 1)) + of_folds * folds + 0.5 * rng.normal(size=(3, 10))


@pytest.mark.parametrize(("of_seeds", "of_folds"), [(0.0, 1.0), (0.3, 1.0), (1.0, 1.0), (1.0, 0.2)])
def test_equal_methods_are_told_apart_as_rarely_as_they_should(of_seeds: float, of_folds: float) -> None:
    """At a level of 5 %, of 1000 draws; leaving seeds out would find differences in half of them where seeds differ."""
    rng = np.random.default_rng(3)
    draws = [drawn_differences(rng, of_seeds, of_folds) for _ in range(1000)]
    found = np.mean([paired_difference(d, np.zeros((1, 10)), 1 / 9, 0.95).p_value < 0.05 for d in draws])
    assert 0.01 <= found <= 0.10, found
    if of_seeds == 1:
        alone = np.mean([paired_difference(d.mean(axis=0), np.zeros(10), 1 / 9, 0.95).p_value < 0.05 for d in draws])
        assert alone > 0.15


def test_equal_methods_on_a_test_cohort_too() -> None:
    """Paired differences of 80 patients, resampled, with three seeds that differ."""
    rng, found = np.random.default_rng(6), []
    for _ in range(300):
        patients = rng.normal(size=80)
        seeds = 0.15 * rng.normal(size=(3, 1)) + patients.mean() + 0.1 * rng.normal(size=(3, 80)).mean(axis=1)[:, None]
        counts = rng.multinomial(80, np.full(80, 1 / 80), size=200) / 80
        drawn = counts @ patients
        found.append(bootstrap_difference(seeds, np.zeros((1, 1)), (drawn, np.zeros(200)), 0.95, 80).p_value < 0.05)
    assert 0.01 <= np.mean(found) <= 0.10


# ---- tables ----


def seeded(tmp_path: Path, name: str, aucs: list[float]) -> Evaluation:
    """An evaluation with resamples of four patients."""
    made = evaluation(name, aucs, aucs)
    path = tmp_path / f"{name}.npz"
    spread = np.linspace(-0.05, 0.05, 11)
    metrics = {metric: np.mean(aucs) + spread for metric in ("auc", "accuracy")}
    write_resamples(path, metrics, ["p0", "p1", "p2", "p3"])  # type: ignore[arg-type]  # its keys are metrics
    return Evaluation(made.folds, made.intervals, path)


@pytest.fixture
def rows(tmp_path: Path) -> list[Evaluation]:
    """`dino` once, `slpd` under three seeds whose means are 0.8, 0.9 and 0.7."""
    aucs = {"slpd": [0.75, 0.8, 0.85], "slpd.seed1": [0.9, 0.9, 0.9], "slpd.seed2": [0.65, 0.7, 0.75]}
    return [
        seeded(tmp_path, "dino", [0.5, 0.55, 0.6]),
        *(seeded(tmp_path, name, values) for name, values in aucs.items()),
    ]


def test_a_cell_is_mean_and_deviation_over_seeds(rows: list[Evaluation]) -> None:
    content = content_of(rows, repeats=REPEATS)
    assert [row.variant for row in content.rows] == ["dino", "slpd"]
    cell = content.rows[1].cells[0]
    assert (cell.mean, cell.std, cell.n_seeds) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert cell.points == pytest.approx((0.8, 0.9, 0.7))
    patients, seeds = Part(np.linspace(-0.05, 0.05, 11).var(ddof=1), 3), Part(0.01 / 3, 2)
    low, high, _ = student(0.8, [patients, seeds], 0.95)
    assert (cell.low, cell.high) == pytest.approx((max(low, 0), min(high, 1)))
    assert content.rows[0].cells[0].n_seeds == 1 and content.rows[0].cells[0].std == pytest.approx(0.05)


def test_a_table_says_which_rows_have_seeds(rows: list[Evaluation]) -> None:
    content = content_of(rows, repeats=REPEATS)
    text = " ".join(as_markdown(content).split())
    assert "slpd: over 3 pretraining seeds of the mean over folds" in text and "seed1" not in text
    lines = [line.split(",") for line in as_csv(content).splitlines()]
    column = lines[0].index("n_seeds")
    assert {(line[1], line[column]) for line in lines[1:]} == {("dino", "1"), ("slpd", "3")}
    assert "pretraining seeds" not in as_markdown(content_of(rows[:2]))


def test_a_difference_counts_seeds(rows: list[Evaluation]) -> None:
    """Against `dino`, which has one: each seed's differences on the same folds."""
    header, *lines = [line.split(",") for line in differences_as_csv(content_of(rows, repeats=REPEATS)).splitlines()]
    line = dict(zip(header, next(line for line in lines if line[1] == "auc"), strict=True))
    differences = np.array([[0.5, 0.55, 0.6]]) - [[0.75, 0.8, 0.85], [0.9, 0.9, 0.9], [0.65, 0.7, 0.75]]
    ratio = content_of(rows, repeats=REPEATS).tasks[0].test_to_train
    parts = [
        Part((1 / 3 + ratio) * differences.mean(axis=0).var(ddof=1), 2),
        Part(differences.mean(axis=1).var(ddof=1) / 3, 2),
    ]
    low, high, p_value = student(differences.mean(), parts, 0.95)
    assert [float(line[key]) for key in ("difference", "low", "high", "p_value")] == pytest.approx(
        [differences.mean(), low, high, p_value]
    )


def test_a_seed_that_is_missing_is_named(rows: list[Evaluation]) -> None:
    with pytest.raises(UserError, match=r"variant slpd\.seed2, head knn are of 0; run evaluate for it again"):
        content_of(rows[:3], repeats=REPEATS)


def test_a_seed_without_a_figure_leaves_none(tmp_path: Path, rows: list[Evaluation]) -> None:
    lost = seeded(tmp_path, "slpd.seed2", [math.nan, math.nan, math.nan])
    content = content_of([*rows[:3], lost], repeats=REPEATS)
    assert content.rows[1].cells[0].text == "slpd.seed2: not defined: a class has no test case in any fold"
    (line,) = (line.split(",") for line in as_csv(content).splitlines() if line.startswith("knn,slpd,lung,auc"))
    assert line[4:8] == ["nan"] * 4
    assert (
        "slpd: slpd.seed2: not defined"
        in next(pair for pair in content.comparisons if pair.metric == "auc").difference.why
    )

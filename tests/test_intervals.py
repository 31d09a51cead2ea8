"""Intervals cover the truth; differences are found as often as they should be, no more."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.cases import Cases, Outcomes
from slpd.evaluation.comparison import bootstrap_difference, paired_difference
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.intervals import interval, metric_intervals, resampled_weights
from slpd.evaluation.reliability import reliability
from slpd.settings.evaluation import Intervals

SETTINGS = Intervals(n_resamples=400, level=0.95, seed=0)


def fold_tests(patients: list[list[str]], classes: list[list[int]]) -> list[Cases]:
    """The test cases of folds: of each slide its patient and class."""
    return [
        Cases(
            [[LabelledSlide(f"s{i}", patient, str(c))] for i, (patient, c) in enumerate(zip(p, cs, strict=True))],
            [[1]] * len(p),
            [np.array([i]) for i in range(len(p))],
            Outcomes(np.array(cs), np.ones(len(p), bool), np.full(len(p), np.nan)),
        )
        for p, cs in zip(patients, classes, strict=True)
    ]


REFERENCES = [FoldReference(np.full(2, 0.6))] * 5


def draw_evaluation(rng: np.random.Generator) -> tuple[list[Cases], list[NDArray[np.float64]]]:
    """Five folds of 16 patients with two slides each, whose scores share the patient's part; the AUC is 0.8."""
    patients, classes, outputs = [], [], []
    for fold in range(5):
        numbers = np.arange(16) % 2
        of_patient = rng.normal(size=16)
        score = np.repeat(of_patient, 2) * math.sqrt(0.6) + rng.normal(size=32) * math.sqrt(0.4)
        score += np.repeat(numbers, 2) * math.sqrt(2) * stats.norm.ppf(0.8)  # AUC = Phi(shift / sqrt 2)
        patients.append([f"p{fold}_{i // 2}" for i in range(32)])
        classes.append(np.repeat(numbers, 2).tolist())
        probability = 1 / (1 + np.exp(-score))
        outputs.append(np.stack([1 - probability, probability], axis=1))
    return fold_tests(patients, classes), outputs


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """95 % intervals of 300 simulated evaluations: of AUC 0.8, of the accuracy, and of both rates at a threshold."""
    rng = np.random.default_rng(1)
    shift = math.sqrt(2) * stats.norm.ppf(0.8)
    cut = math.log(0.6 / 0.4)
    truth = {
        "auc": 0.8,
        "accuracy": (stats.norm.cdf(0) + stats.norm.cdf(shift)) / 2,
        "sensitivity": stats.norm.sf(cut - shift),
        "specificity": stats.norm.cdf(cut),
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(300):
        found = metric_intervals("subtyping", *draw_evaluation(rng), SETTINGS, REFERENCES)
        for metric, value in truth.items():
            covered[metric] += found[metric].low <= value <= found[metric].high
    assert all(0.90 <= count / 300 <= 0.99 for count in covered.values()), covered


@pytest.mark.slow
def test_intervals_of_other_metrics_cover_what_is_expected_of_their_mean() -> None:
    """The expectation over evaluations of the same size; the calibration error has no interval."""
    rng = np.random.default_rng(2)
    found = [metric_intervals("subtyping", *draw_evaluation(rng), SETTINGS, REFERENCES) for _ in range(300)]
    for metric in ("auprc", "balanced_accuracy", "f1", "mcc", "kappa"):
        expected = np.mean([one[metric].mean for one in found])
        covered = np.mean([one[metric].low <= expected <= one[metric].high for one in found])
        assert 0.90 <= covered <= 0.99, (metric, covered)
    assert all(math.isnan(one["ece"].low) and math.isnan(one["ece"].high) for one in found)


@pytest.mark.slow
def test_intervals_cover_the_truth_where_all_folds_test_the_same_patients() -> None:
    """External validation, 200 times: three heads whose scores share the patient's part, on 60 patients; AUC 0.8."""
    rng, covered = np.random.default_rng(3), {"auc": 0, "specificity": 0}
    settings = SETTINGS.model_copy(update={"n_resamples": 200})
    numbers, patients = np.arange(60) % 2, [f"p{i}" for i in range(60)]
    for _ in range(200):
        scores = rng.normal(size=60) * math.sqrt(0.7) + rng.normal(size=(3, 60)) * math.sqrt(0.3)
        probabilities = 1 / (1 + np.exp(-scores - numbers * math.sqrt(2) * stats.norm.ppf(0.8)))
        tests = fold_tests([patients] * 3, [numbers.tolist()] * 3)
        outputs = [np.stack([1 - p, p], axis=1) for p in probabilities]
        found = metric_intervals("subtyping", tests, outputs, settings, REFERENCES[:3])
        for metric, truth in (("auc", 0.8), ("specificity", stats.norm.cdf(math.log(0.6 / 0.4)))):
            covered[metric] += found[metric].low <= truth <= found[metric].high
    assert all(0.90 <= count / 200 <= 0.99 for count in covered.values()), covered


def test_a_patient_is_drawn_with_all_its_slides_in_all_its_folds() -> None:
    tests = fold_tests([["a", "a", "b"], ["c", "a"]], [[0, 1, 0], [1, 0]])
    first, second = resampled_weights(tests, SETTINGS)
    assert (first[:, 0] == first[:, 1]).all() and (first[:, 0] == second[:, 1]).all()
    assert (first[:, 0] + first[:, 2] + second[:, 0] == 3).all()  # as many patients as there are
    assert first[:, 0].mean() == pytest.approx(1, abs=0.15)
    again = resampled_weights(tests, SETTINGS)
    assert (again[0] == first).all()


def test_one_patient_is_no_sample() -> None:
    """Every resample would be the same, an interval without width."""
    tests, outputs = fold_tests([["a", "a"]], [[0, 1]]), [np.array([[0.7, 0.3], [0.2, 0.8]])]
    auc = metric_intervals("subtyping", tests, outputs, SETTINGS, REFERENCES[:1])["auc"]
    assert auc.mean == 1 and math.isnan(auc.low) and math.isnan(auc.high) and not len(auc.resampled)


def test_mean_and_deviation_are_over_defined_folds() -> None:
    points = np.array([0.5, np.nan, 0.9])
    resampled = np.array([[0.4, 0.6], [np.nan, np.nan], [0.8, np.nan]])
    found = interval(points, resampled, 0.9)
    assert (found.mean, found.n_folds) == (pytest.approx(0.7), 2)
    assert found.std == pytest.approx(np.std([0.5, 0.9], ddof=1))
    assert (found.low, found.high) == (pytest.approx(0.6), pytest.approx(0.6))
    nothing = interval(np.array([np.nan]), np.array([[np.nan]]), 0.95)
    assert nothing.n_folds == 0 and math.isnan(nothing.mean) and math.isnan(nothing.low)


def test_the_corrected_test_is_the_hand_worked_one() -> None:
    first, second = [0.9, 0.8, 0.85, 0.95], [0.8, 0.8, 0.8, 0.8]
    found = paired_difference(first, second, test_to_train=1 / 3, level=0.95)
    d = np.array([0.1, 0, 0.05, 0.15])
    error = math.sqrt((1 / 4 + 1 / 3) * d.var(ddof=1))
    assert found.mean == pytest.approx(0.075)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.075 / error, 3))
    assert found.low == pytest.approx(0.075 - stats.t.ppf(0.975, 3) * error)
    plain = paired_difference(first, second, test_to_train=0, level=0.95)
    assert plain.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert plain.p_value < found.p_value


def test_differences_of_too_few_folds_are_not_tested() -> None:
    found = paired_difference([0.9, math.nan], [0.8, 0.7], 0.1, 0.95)
    assert (found.mean, found.n_folds) == (pytest.approx(0.1), 1)
    assert math.isnan(found.p_value) and found.why == "1 fold has both figures, a test needs two"
    assert math.isnan(paired_difference([math.nan], [0.5], 0.1, 0.95).mean)
    equal = paired_difference([0.5, 0.5], [0.5, 0.5], 0.1, 0.95)
    assert (equal.mean, equal.p_value, equal.why) == (0, 1, "")


@pytest.mark.parametrize("first", [[0.8, 0.7, 0.6], [0.5, 0.5, 0.25]])
@pytest.mark.parametrize("difference", [0.1, 0.25, 0.5])
def test_a_difference_without_noise_is_not_tested(first: list[float], difference: float) -> None:
    """Whether it is the same in all folds exactly or but for rounding."""
    found = paired_difference(first, [value + difference for value in first], 0.1, 0.95)
    assert found.mean == pytest.approx(-difference)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p_value))
    assert "no noise" in found.why


def test_equal_methods_are_rarely_told_apart() -> None:
    """Ten folds that share an error: the corrected test keeps its level where the plain one does not."""
    rng = np.random.default_rng(0)
    corrected = plain = 0
    for _ in range(400):
        shared, own = (
            rng.normal(),
            rng.normal(size=10),
        )  # correlation 1 / 10 = test / (train + test), as Nadeau & Bengio
        differences = math.sqrt(0.1) * shared + math.sqrt(0.9) * own
        corrected += paired_difference(differences, np.zeros(10), 1 / 9, 0.95).p_value < 0.05
        plain += paired_difference(differences, np.zeros(10), 0, 0.95).p_value < 0.05
    assert corrected / 400 < 0.075 < plain / 400


def test_reliability_is_counted_by_hand() -> None:
    numbers = [np.array([1, 0]), np.array([1])]
    outputs = [np.array([[0.3, 0.7], [0.25, 0.75]]), np.array([[0, 1.0]])]
    of_class_1 = [b for b in reliability(numbers, outputs) if b.class_number == 1]
    assert [(b.low, b.n_cases, b.observed_share) for b in of_class_1] == [(0.7, 2, 0.5), (0.9, 1, 1.0)]
    assert of_class_1[0].mean_probability == pytest.approx(0.725)
    assert sum(b.n_cases for b in reliability(numbers, outputs)) == 6


def drawn_pair(rng: np.random.Generator, n: int, lead: float) -> tuple[list[float], tuple[NDArray[np.float64], ...]]:
    """Accuracy of two variants on n patients, and in the same 400 resamples of these; they agree in most patients."""
    both = rng.random(n) < 0.7
    first = np.where(rng.random(n) < 0.3, rng.random(n) < 0.7 + lead, both)
    second = np.where(rng.random(n) < 0.3, rng.random(n) < 0.7, both)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=400) / n
    return [first.mean(), second.mean()], (counts @ first, counts @ second)


@pytest.mark.slow
def test_a_difference_on_a_test_cohort_is_found_as_often_as_it_should_be() -> None:
    """Of 400 pairs of equal variants about 5 %; the interval holds a true difference; a large one is found."""
    rng = np.random.default_rng(4)
    p_values, covered, found = [], 0, 0
    for _ in range(400):
        (first, second), resampled = drawn_pair(rng, 80, 0)
        p_values.append(bootstrap_difference([first], [second], resampled, 0.95, 80).p_value)
        (first, second), resampled = drawn_pair(rng, 80, 0.3)
        difference = bootstrap_difference([first], [second], resampled, 0.95, 80)
        covered += difference.low <= 0.3 * 0.3 <= difference.high
        found += difference.p_value < 0.05
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.08
    assert 0.90 <= covered / 400 <= 0.99
    assert found / 400 > 0.4


def test_a_bootstrap_difference_by_hand() -> None:
    """Four resamples of two folds' means; folds count where both are defined."""
    first, second = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.5, 0.5, 0.5, 0.7])
    one = bootstrap_difference([0.8, 0.7], [0.6, math.nan], (first, second), 0.5, 4)
    assert (one.mean, one.n_folds) == (pytest.approx(0.2), 1)
    assert (one.low, one.high) == pytest.approx((0.125, 0.325))  # quartiles of -0.1, 0.2, 0.3, 0.4
    assert one.p_value == pytest.approx(2 * (1 + 1) / (4 + 1))
    same = bootstrap_difference([0.8], [0.8], (first, first), 0.95, 4)
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    nothing = bootstrap_difference([0.8], [0.7], (np.empty(0), np.empty(0)), 0.95, 0)
    assert nothing.mean == pytest.approx(0.1) and math.isnan(nothing.p_value) and math.isnan(nothing.low)

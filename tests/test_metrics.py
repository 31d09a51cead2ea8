"""Metrics equal hand-worked numbers and scikit-learn's, with equal weights and with any others."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from slpd.errors import UserError
from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.metrics import fold_metrics, point_metrics, predicted_classes
from slpd.evaluation.survival import interval_of, interval_starts, risk
from slpd.evaluation.thresholds import youden_threshold, youden_thresholds


def classes_of(*numbers: int) -> Outcomes:
    return Outcomes(np.array(numbers), np.ones(len(numbers), bool), np.full(len(numbers), np.nan))


def two_columns(probability_of_1: list[float]) -> NDArray[np.float64]:
    return np.stack([1 - np.array(probability_of_1), probability_of_1], axis=1)


def test_metrics_of_a_hand_worked_case() -> None:
    # Positives 0.9, 0.6, 0.4; negatives 0.7, 0.2. Pairs ranked rightly: 2 + 1 + 1 of 6.
    # Predicted 1, 1, 0 | 1, 0: 3 of 5 right; recall 2/3 and 1/2.
    # F1 of class 1: 2*2/(2*2+1+1) = 2/3; of class 0: 2*1/(2*1+1+1) = 1/2.
    # Kappa: agreement 3/5, by chance (3*3 + 2*2) / 25 = 13/25.
    # MCC: 2 and 1 right, 1 and 1 wrong; 3 called positive and 3 positive, 2 and 2 negative.
    # Confidences 0.9 right, 0.6 right, 0.6 wrong, 0.7 wrong, 0.8 right, in bins 9, 6, 7 and 8.
    outputs, reference = two_columns([0.9, 0.6, 0.4, 0.7, 0.2]), FoldReference(np.array([np.nan, 0.7]))
    found = point_metrics("subtyping", classes_of(1, 1, 1, 0, 0), outputs, reference)
    assert found == pytest.approx(
        {
            "auc": 4 / 6,
            "auprc": 1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 4,  # at 0.9, 0.6 and 0.4 precision is 1/1, 2/3, 3/4
            "sensitivity": 1 / 3,  # 0.9 alone reaches 0.7
            "specificity": 1 / 2,
            "mcc": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2),
            "accuracy": 3 / 5,
            "balanced_accuracy": (2 / 3 + 1 / 2) / 2,
            "f1": (2 / 3 + 1 / 2) / 2,
            "kappa": (3 / 5 - 13 / 25) / (1 - 13 / 25),
            "ece": (0.1 + abs(1.2 - 1) + 0.7 + 0.2) / 5,
        }
    )


def test_only_wanted_metrics_are_computed() -> None:
    found = fold_metrics("subtyping", classes_of(0, 1), two_columns([0.2, 0.7]), np.ones((1, 2)), wanted=("auc", "f1"))
    assert set(found) == {"auc", "f1"}


def test_equal_probabilities_count_half_in_the_auc_and_predict_the_first_class() -> None:
    found = point_metrics("subtyping", classes_of(0, 1), two_columns([0.5, 0.5]))
    assert found["auc"] == 0.5
    assert found["accuracy"] == 0.5


def random_case(n_classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Classes, probabilities with ties among them, and three sets of weights: ones, counts with zeros, any."""
    rng = np.random.default_rng(n_classes)
    classes = rng.permutation(np.arange(60) % n_classes)
    probabilities = rng.dirichlet(np.ones(n_classes), size=60) + 0.3 * np.eye(n_classes)[classes]
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).round(1)
    weights = np.stack([np.ones(60), rng.integers(0, 3, 60), rng.random(60)])
    return classes, probabilities, weights


@pytest.mark.parametrize("kind", ["subtyping", "ordinal"])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_metrics_equal_scikit_learns_with_the_same_weights(n_classes: int, kind: str) -> None:
    classes, probabilities, weights = random_case(n_classes)
    predicted = predicted_classes(probabilities, kind)  # type: ignore[arg-type]
    reference = FoldReference(np.linspace(0.3, 0.6, n_classes))
    found = fold_metrics(kind, classes_of(*classes), probabilities, weights, reference)  # type: ignore[arg-type]
    for i, w in enumerate(weights):
        drawn = w > 0  # scikit-learn takes a class of weight 0 for one that occurs
        args = (classes[drawn], predicted[drawn])
        numbers = [1] if n_classes == 2 else range(n_classes)
        for metric, theirs in (("auc", sk.roc_auc_score), ("auprc", sk.average_precision_score)):
            one_vs_rest = [
                theirs(classes[drawn] == c, probabilities[drawn, c], sample_weight=w[drawn]) for c in numbers
            ]
            assert found[metric][i] == pytest.approx(np.mean(one_vs_rest))  # type: ignore[index]
        for metric, positive in (("sensitivity", 1), ("specificity", 0)):
            one_vs_rest = [
                sk.recall_score(
                    *(classes[drawn] == c, probabilities[drawn, c] >= reference.thresholds[c]),  # type: ignore[index]
                    pos_label=positive,
                    sample_weight=w[drawn],
                )
                for c in numbers
            ]
            assert found[metric][i] == pytest.approx(np.mean(one_vs_rest))  # type: ignore[index]
        assert found["mcc"][i] == pytest.approx(sk.matthews_corrcoef(*args, sample_weight=w[drawn]))
        assert found["accuracy"][i] == pytest.approx(sk.accuracy_score(*args, sample_weight=w[drawn]))
        assert found["balanced_accuracy"][i] == pytest.approx(sk.balanced_accuracy_score(*args, sample_weight=w[drawn]))
        assert found["f1"][i] == pytest.approx(sk.f1_score(*args, average="macro", sample_weight=w[drawn]))
        kappa = sk.cohen_kappa_score(*args, sample_weight=w[drawn], weights="quadratic" if kind == "ordinal" else None)
        assert found["kappa"][i] == pytest.approx(kappa)


def test_the_threshold_is_youdens_on_the_roc_curve() -> None:
    """Half way down from the score at which scikit-learn's curve is highest above the diagonal."""
    rng = np.random.default_rng(0)
    for n_positive in (1, 7, 25):
        positive = np.arange(40) < n_positive
        scores = (rng.random(40) + 0.4 * positive).round(2)
        falsely, truly, cuts = sk.roc_curve(positive, scores, drop_intermediate=False)
        gain = (truly - falsely).round(9)
        best = cuts[np.flatnonzero(gain == gain.max())[-1]]  # the lowest of equal ones
        assert youden_threshold(positive, scores) == pytest.approx((best + scores[scores < best].max()) / 2)
    numbers = np.array([0, 1, 1])
    assert youden_thresholds(numbers, two_columns([0.2, 0.6, 0.9]))[1] == pytest.approx(0.4)


def test_without_both_outcomes_there_is_no_threshold_and_without_a_threshold_no_sensitivity() -> None:
    assert math.isnan(youden_threshold(np.array([True, True]), np.array([0.1, 0.9])))
    assert math.isnan(youden_threshold(np.array([], bool), np.array([])))
    assert youden_threshold(np.array([True, False]), np.array([0.5, 0.5])) == 0.5  # scores that tell nothing apart
    found = point_metrics("subtyping", classes_of(0, 1), two_columns([0.2, 0.7]))
    assert math.isnan(found["sensitivity"]) and math.isnan(found["specificity"])


def test_the_macro_auc_is_scikit_learns_own() -> None:
    classes, probabilities, _ = random_case(4)
    probabilities = probabilities + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = point_metrics("subtyping", classes_of(*classes), probabilities)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(classes, probabilities, multi_class="ovr", average="macro"))


def test_a_weight_of_two_is_a_case_twice() -> None:
    classes, probabilities, weights = random_case(3)
    counts = weights[1].astype(int)
    twice = point_metrics(
        "subtyping", classes_of(*np.repeat(classes, counts)), np.repeat(probabilities, counts, axis=0)
    )
    found = fold_metrics("subtyping", classes_of(*classes), probabilities, weights)
    assert {metric: values[1] for metric, values in found.items()} == pytest.approx(twice, nan_ok=True)


@pytest.mark.slow
def test_the_calibration_error_of_a_calibrated_forecast_is_small_and_of_an_overconfident_one_is_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    truth = classes_of(*(rng.random(20_000) < p).astype(int))
    assert point_metrics("subtyping", truth, two_columns(list(p)))["ece"] < 0.02
    sharper = p**3 / (p**3 + (1 - p) ** 3)
    assert point_metrics("subtyping", truth, two_columns(list(sharper)))["ece"] > 0.1


def test_the_median_grade_is_predicted() -> None:
    probabilities = np.array([[0.4, 0.1, 0.3, 0.2], [0.5, 0.5, 0, 0], [0.6, 0, 0, 0.4], [0.3, 0.1, 0.4, 0.2]])
    assert predicted_classes(probabilities, "ordinal").tolist() == [1, 0, 0, 2]
    assert predicted_classes(probabilities, "subtyping").tolist() == [0, 0, 0, 2]


def test_calibration_is_that_of_the_most_probable_grade() -> None:
    """The median grade is another one, whose probability is not the confidence."""
    outputs = np.array([[0.4, 0.25, 0.35]] * 10)
    truth = classes_of(*[0] * 4 + [2] * 6)
    assert point_metrics("ordinal", truth, outputs)["ece"] == pytest.approx(0)


@pytest.mark.filterwarnings("error")
def test_a_class_without_test_slides_leaves_the_auc_undefined_and_the_rest_defined() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0], [0, 0.2, 0.8]])
    found = point_metrics("subtyping", classes_of(0, 0, 1, 1), probabilities)
    assert math.isnan(found["auc"]) and math.isnan(found["auprc"])
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == 0.5  # classes 0 and 1 only
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)  # class 2 is predicted, wrongly
    alone = point_metrics("subtyping", classes_of(1, 1), two_columns([0.9, 0.7]))
    assert all(math.isnan(alone[metric]) for metric in ("auc", "auprc", "kappa", "mcc"))
    same = point_metrics("subtyping", classes_of(0, 1), two_columns([0.9, 0.7]))
    assert same["mcc"] == 0  # one class alone is predicted


def survival_outcomes(times: list[float], seen: list[int]) -> Outcomes:
    return Outcomes(np.zeros(len(times), int), np.array(seen, bool), np.array(times))


def hazards_of(risks: list[float]) -> NDArray[np.float64]:
    """One interval, whose hazard orders cases by the given risks."""
    return np.array(risks)[:, None]


def test_c_index_of_a_hand_worked_case() -> None:
    # a dies at 1, b censored at 2, c dies at 3, d dies at 3, e censored at 3.
    # Comparable: a with b, c, d, e; c with e, d with e (followed at the time of the death); not c with d, not b first.
    # Risks a .5 b .5 c .7 d .1 e .4: a-b tie 1/2, a-c 0, a-d 1, a-e 1, c-e 1, d-e 0: 3.5 of 6.
    outcomes = survival_outcomes([1, 2, 3, 3, 3], [1, 0, 1, 1, 0])
    found = point_metrics("survival", outcomes, hazards_of([0.5, 0.5, 0.7, 0.1, 0.4]))
    assert found["c_index"] == pytest.approx(3.5 / 6)


def test_c_index_equals_a_slow_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    times, seen = rng.integers(1, 20, 40).astype(float), rng.random(40) < 0.6
    hazards = rng.random((40, 3)).round(1)
    risks, good, pairs = risk(hazards), 0.0, 0
    for i in range(40):
        for j in range(40):
            if seen[i] and (times[i] < times[j] or (times[i] == times[j] and not seen[j])):
                pairs += 1
                good += 1.0 if risks[i] > risks[j] else 0.5 if risks[i] == risks[j] else 0.0
    outcomes = survival_outcomes(list(times), list(seen))
    assert point_metrics("survival", outcomes, hazards)["c_index"] == pytest.approx(good / pairs)


def test_without_events_the_c_index_is_undefined() -> None:
    found = point_metrics("survival", survival_outcomes([1, 2, 3], [0, 0, 0]), hazards_of([0.1, 0.2, 0.3]))
    assert math.isnan(found["c_index"])


def test_intervals_hold_equally_many_events_and_begin_where_they_say() -> None:
    starts = interval_starts(np.arange(1.0, 101.0), 4, "fold 0")
    np.testing.assert_allclose(starts, [25.75, 50.5, 75.25])
    assert interval_of(np.array([0, 25.75, 26, 80, 500]), starts).tolist() == [0, 1, 1, 3, 3]
    with pytest.raises(UserError, match="fold 3: 2 training events at 2 different times cannot be cut into n_bins = 4"):
        interval_starts(np.array([0.0, 5.0]), 4, "fold 3")


def test_risk_orders_by_expected_survival() -> None:
    early, late = [0.9, 0.1, 0.1], [0.1, 0.1, 0.9]
    assert risk(np.array([early]))[0] > risk(np.array([late]))[0]
    assert risk(np.array([[0.5, 0.5]]))[0] == pytest.approx(-(0.5 + 0.25))

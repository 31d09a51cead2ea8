"""Metrics equal hand-worked numbers and scikit-learn's."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from slpd.evaluation.metrics import classification_metrics


def two_columns(probability_of_1: list[float]) -> NDArray[np.float64]:
    return np.stack([1 - np.array(probability_of_1), probability_of_1], axis=1)


def test_metrics_of_a_hand_worked_case() -> None:
    # Positives 0.9, 0.6, 0.4; negatives 0.7, 0.2. Pairs ranked rightly: 2 + 1 + 1 of 6.
    # Predicted 1, 1, 0 | 1, 0: 3 of 5 right; recall 2/3 and 1/2.
    # F1 of class 1: 2*2/(2*2+1+1) = 2/3; of class 0: 2*1/(2*1+1+1) = 1/2.
    metrics = classification_metrics(np.array([1, 1, 1, 0, 0]), two_columns([0.9, 0.6, 0.4, 0.7, 0.2]))
    assert metrics == pytest.approx(
        {"auc": 4 / 6, "accuracy": 3 / 5, "balanced_accuracy": (2 / 3 + 1 / 2) / 2, "f1": (2 / 3 + 1 / 2) / 2}
    )


def test_equal_probabilities_count_half_in_the_auc_and_predict_the_first_class() -> None:
    metrics = classification_metrics(np.array([0, 1]), two_columns([0.5, 0.5]))
    assert metrics["auc"] == 0.5
    assert metrics["accuracy"] == 0.5


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_metrics_equal_scikit_learns(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    classes = rng.permutation(np.arange(60) % n_classes)
    probabilities = rng.dirichlet(np.ones(n_classes), size=60) + 0.3 * np.eye(n_classes)[classes]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    metrics = classification_metrics(classes, probabilities)
    scores = probabilities[:, 1] if n_classes == 2 else probabilities
    assert metrics["auc"] == pytest.approx(roc_auc_score(classes, scores, multi_class="ovr", average="macro"))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(classes, predicted))
    assert metrics["f1"] == pytest.approx(f1_score(classes, predicted, average="macro"))
    assert metrics["accuracy"] == (classes == predicted).mean()


@pytest.mark.filterwarnings("error")
def test_a_class_without_test_slides_leaves_the_auc_undefined_and_the_rest_defined() -> None:
    classes = np.array([0, 0, 1, 1])
    metrics = classification_metrics(
        classes, np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0], [0, 0.2, 0.8]])
    )
    assert math.isnan(metrics["auc"])
    assert metrics["accuracy"] == 0.5
    assert metrics["balanced_accuracy"] == 0.5  # classes 0 and 1 only
    assert metrics["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)  # class 2 is predicted, wrongly
    assert math.isnan(classification_metrics(np.array([1, 1]), two_columns([0.9, 0.2]))["auc"])

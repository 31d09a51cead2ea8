"""Metrics of a classification, from the probabilities of its test slides."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from slpd.settings.evaluation import Metric


def classification_metrics(classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[Metric, float]:
    """All metrics of some slides, each in [0, 1].

    The class with the highest probability is predicted (of equal ones the first). Balanced accuracy is the mean
    recall of the classes that occur; F1 is the mean over the classes that occur or are predicted.

    Args:
        classes: (n,) true class numbers.
        probabilities: (n, C), rows sum to 1.
    """
    predicted = probabilities.argmax(axis=1)
    return {
        "auc": auc(classes, probabilities),
        "accuracy": float(accuracy_score(classes, predicted)),
        "balanced_accuracy": float(recall_score(classes, predicted, labels=np.unique(classes), average="macro")),
        "f1": float(f1_score(classes, predicted, average="macro")),
    }


def auc(classes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Area under the ROC curve; the macro mean of one-vs-rest areas for more than two classes.

    Returns:
        The area, or NaN when a class has no slide.
    """
    n_classes = probabilities.shape[1]
    if len(np.unique(classes)) < n_classes:
        return float("nan")
    one_vs_rest = [
        float(roc_auc_score(classes == number, probabilities[:, number]))
        for number in ([1] if n_classes == 2 else range(n_classes))
    ]
    return float(np.mean(one_vs_rest))

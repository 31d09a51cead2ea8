"""Metrics of the test cases of a fold.

Every case has a weight, and all metrics are computed for many sets of weights at once: a bootstrap resample is a set of
weights (how often each case was drawn). With equal weights they are the usual metrics; scikit-learn's, where it has
them, are equal with the same `sample_weight`, and would take a call per resample.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import WITHOUT_REFERENCE, FoldReference
from slpd.evaluation.regression_metrics import RegressionMetrics
from slpd.evaluation.survival_metrics import SurvivalMetrics
from slpd.evaluation.weighted import PerSet, Weights, concordance, mean_of_defined, ratio
from slpd.settings.evaluation import TaskKind
from slpd.settings.tables import METRICS, Metric, metrics_of

CALIBRATION_BINS = 10


def predicted_classes(outputs: NDArray[np.float64], kind: TaskKind) -> NDArray[np.int64]:
    """The class that is predicted, (n,).

    Subtyping: the most probable one (of equal ones the first). Ordinal: the median class, that is as many steps up as
    are more probable than not (Cao, Mirjalili, Raschka, Pattern Recognition Letters 140, 2020, section 3.2).

    Args:
        outputs: (n, C) class probabilities.
        kind: subtyping or ordinal.
    """
    if kind == "ordinal":
        higher = np.cumsum(outputs[:, :0:-1], axis=1)  # (n, C - 1): probability of a class above C - 2, ..., above 0
        return np.asarray((np.round(higher, 9) > 0.5).sum(axis=1))
    return np.asarray(outputs.argmax(axis=1))


def fold_metrics(
    kind: TaskKind,
    outcomes: Outcomes,
    outputs: NDArray[np.float64],
    weights: Weights,
    reference: FoldReference = WITHOUT_REFERENCE,
    wanted: Sequence[Metric] = METRICS,
) -> dict[Metric, PerSet]:
    """The metrics that a kind of task has.

    Args:
        kind: The kind of task.
        outcomes: The truth of n cases.
        outputs: (n, C) what a head says of them.
        weights: (W, n), 0 or more.
        reference: Of the fold; metrics that need more of it than it has are NaN.
        wanted: Metrics, of which those of the kind are computed.
    """
    metrics: SurvivalMetrics | RegressionMetrics | ClassMetrics
    if kind == "survival":
        metrics = SurvivalMetrics(outcomes, outputs, weights, reference)
    elif kind == "regression":
        metrics = RegressionMetrics(outcomes.values, outputs[:, 0], weights)
    else:
        metrics = ClassMetrics(kind, outcomes.numbers, outputs, weights, reference.thresholds)
    return {metric: getattr(metrics, metric) for metric in metrics_of(kind) if metric in wanted}


class ClassMetrics:
    """Metrics of a classification; each is (W,)."""

    def __init__(
        self,
        kind: TaskKind,
        numbers: NDArray[np.int64],
        outputs: NDArray[np.float64],
        weights: Weights,
        thresholds: NDArray[np.float64] | None,
    ) -> None:
        """Keep what all of them need."""
        self.kind, self.numbers, self.outputs, self.weights = kind, numbers, outputs, weights
        self.thresholds = np.full(outputs.shape[1], np.nan) if thresholds is None else thresholds
        self.predicted = predicted_classes(outputs, kind)
        self.total = weights.sum(axis=1)

    @cached_property
    def confusion(self) -> NDArray[np.float64]:
        """(W, C, C): weight of the cases of class i that are predicted as j."""
        C = self.outputs.shape[1]
        cells = np.eye(C * C)[self.numbers * C + self.predicted]  # (n, C * C)
        return np.asarray(self.weights @ cells).reshape(-1, C, C)

    @property
    def auc(self) -> PerSet:
        """Area under the ROC curve; of more than two classes the macro mean of one-vs-rest areas.

        NaN where a class has no case.
        """
        return self.macro(self.auc_of)

    @property
    def auprc(self) -> PerSet:
        """Area under the precision-recall curve, as average precision (no interpolation; Davis & Goadrich, ICML 2006).

        Of more than two classes the macro mean of one-vs-rest areas. NaN where a class has no case.
        """
        return self.macro(self.average_precision_of)

    @property
    def sensitivity(self) -> PerSet:
        """Share of the positive class's cases whose probability reaches the threshold; else the macro mean."""
        return self.macro(lambda number: self.reached(number, self.numbers == number))

    @property
    def specificity(self) -> PerSet:
        """Share of the other cases whose probability does not reach the threshold; else the macro mean."""
        return self.macro(lambda number: 1 - self.reached(number, self.numbers != number))

    def macro(self, of_class: Callable[[int], PerSet]) -> PerSet:
        """The metric of class 1 against class 0; of more classes the mean over each class against the rest."""
        C = self.outputs.shape[1]
        return np.mean([of_class(number) for number in ([1] if C == 2 else range(C))], axis=0)  # type: ignore[no-any-return]

    def reached(self, number: int, cases: NDArray[np.bool_]) -> PerSet:
        """Of some cases, the share in which the probability of a class reaches its threshold."""
        if np.isnan(self.thresholds[number]):
            return np.full(len(self.weights), np.nan)
        reaches = self.outputs[:, number] >= self.thresholds[number]
        return ratio(self.weights @ (cases & reaches), self.weights @ cases)

    def average_precision_of(self, number: int) -> PerSet:
        """Precision at every probability of a class that occurs, weighted by the recall that it adds."""
        order = np.argsort(-self.outputs[:, number], kind="stable")
        weights, positive = self.weights[:, order], self.numbers[order] == number
        last = np.flatnonzero(np.diff(self.outputs[order, number], append=np.nan))  # of equal probabilities
        hits, called = (np.cumsum(weights * which, axis=1)[:, last] for which in (positive, True))
        both = (hits[:, -1] > 0) & (hits[:, -1] < called[:, -1])
        added = np.diff(hits, axis=1, prepend=0)
        area = np.nansum(added * ratio(hits, called), axis=1)
        return np.where(both, ratio(area, hits[:, -1]), np.nan)

    def auc_of(self, number: int) -> PerSet:
        """The probability that a case of the class scores higher than one of another class; ties count half."""
        positive, score = self.numbers == number, self.outputs[:, number]
        wins = concordance(score[positive], score[~positive])  # (positives, negatives)
        pos, neg = self.weights[:, positive], self.weights[:, ~positive]
        return ratio(((pos @ wins) * neg).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))

    @property
    def accuracy(self) -> PerSet:
        """Share of cases that are predicted rightly."""
        return ratio(np.trace(self.confusion, axis1=1, axis2=2), self.total)

    @property
    def balanced_accuracy(self) -> PerSet:
        """Mean recall of the classes that occur."""
        recall = ratio(np.diagonal(self.confusion, axis1=1, axis2=2), self.confusion.sum(axis=2))
        return mean_of_defined(recall)

    @property
    def f1(self) -> PerSet:
        """Macro F1: the mean over the classes that occur or are predicted."""
        either = self.confusion.sum(axis=1) + self.confusion.sum(axis=2)
        return mean_of_defined(ratio(2 * np.diagonal(self.confusion, axis1=1, axis2=2), either))

    @property
    def mcc(self) -> PerSet:
        """Matthews correlation coefficient; of more than two classes R_K (Gorodkin, Comput. Biol. Chem. 28, 2004).

        0 where one class alone is predicted, NaN where one class alone occurs.
        """
        true, predicted = self.confusion.sum(axis=2), self.confusion.sum(axis=1)  # (W, C)
        covariance = np.trace(self.confusion, axis1=1, axis2=2) * self.total - (true * predicted).sum(axis=1)
        spread = [self.total**2 - (counts**2).sum(axis=1) for counts in (true, predicted)]
        several = [(counts > 0).sum(axis=1) > 1 for counts in (true, predicted)]
        coefficient = ratio(covariance, np.sqrt(np.maximum(spread[0] * spread[1], 0)))
        return np.where(several[0], np.where(several[1], coefficient, 0), np.nan)

    @property
    def kappa(self) -> PerSet:
        """Cohen's kappa; of ordinal tasks with quadratic weights. NaN where only one class occurs and is predicted."""
        C = self.outputs.shape[1]
        i, j = np.mgrid[:C, :C]
        cost = (i - j) ** 2 if self.kind == "ordinal" else (i != j)
        expected = self.confusion.sum(axis=2)[:, :, None] * self.confusion.sum(axis=1)[:, None, :]
        chance = ratio((expected * cost).sum(axis=(1, 2)), self.total)
        return 1 - ratio((self.confusion * cost).sum(axis=(1, 2)), chance)

    @property
    def ece(self) -> PerSet:
        """Expected calibration error (Guo et al., ICML 2017).

        Over ten bins of the highest probability: its distance from the share of cases in which that class is true.
        """
        confidence = self.outputs.max(axis=1)
        right = self.outputs.argmax(axis=1) == self.numbers
        bins = np.eye(CALIBRATION_BINS)[calibration_bin(confidence)]  # (n, bins)
        gaps = np.abs(self.weights @ (bins * (confidence - right)[:, None]))  # (W, bins)
        return ratio(gaps.sum(axis=1), self.total)


def calibration_bin(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The tenth of [0, 1] that a probability lies in; 0.1 lies in the second."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def point_metrics(
    kind: TaskKind, outcomes: Outcomes, outputs: NDArray[np.float64], reference: FoldReference = WITHOUT_REFERENCE
) -> dict[Metric, float]:
    """The metrics of a fold, every case counting once."""
    metrics = fold_metrics(kind, outcomes, outputs, np.ones((1, len(outputs))), reference)
    return {metric: float(values[0]) for metric, values in metrics.items()}

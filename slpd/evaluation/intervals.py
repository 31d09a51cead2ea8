"""Intervals of a metric's mean over folds: a bootstrap over patients.

A resample draws as many of the tested patients as there are, with replacement. A patient that is drawn twice counts
twice in every fold that tests it, with all its slides, so that slides of a patient and folds that share test patients
(HIPT's) are not taken for independent (cluster bootstrap: Davison & Hinkley 1997, section 3.8).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Cases
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.metrics import fold_metrics, point_metrics
from slpd.settings.evaluation import Intervals, TaskKind
from slpd.settings.tables import METRICS, Metric

# Resamples repeat cases, which widens the gaps that a calibration error adds up: its intervals would lie above it.
RESAMPLED = tuple(metric for metric in METRICS if metric != "ece")


@dataclass(frozen=True)
class Interval:
    """A metric over the folds in which it is defined."""

    mean: float  # NaN: defined in no fold
    std: float  # ddof 1; NaN: defined in fewer than two folds
    low: float  # of the percentile interval of the mean; NaN: the metric has none
    high: float
    n_folds: int  # folds in which it is defined
    resampled: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # (resamples,) its mean; NaN: undefined


def metric_intervals(
    kind: TaskKind,
    tests: Sequence[Cases],
    outputs: Sequence[NDArray[np.float64]],
    settings: Intervals,
    references: Sequence[FoldReference],
) -> dict[Metric, Interval]:
    """Mean, standard deviation and percentile interval of every metric.

    Args:
        kind: The kind of task.
        tests: The test cases of each fold.
        outputs: (n, C) what a head says of them, for each fold.
        settings: Resamples, level, seed.
        references: What metrics take from the other splits of each fold; it is the same in every resample.
    """
    folds = list(zip(tests, outputs, references, strict=True))
    wanted = RESAMPLED if len(tested_patients(tests)) > 1 else ()  # one patient says nothing of others
    points = [point_metrics(kind, test.outcomes, out, reference) for test, out, reference in folds]
    resampled = [
        fold_metrics(kind, test.outcomes, out, weights, reference, wanted)
        for (test, out, reference), weights in zip(folds, resampled_weights(tests, settings), strict=True)
    ]
    return {
        metric: interval(
            np.array([fold[metric] for fold in points]),
            np.stack([fold[metric] for fold in resampled]) if metric in wanted else np.empty((len(points), 0)),
            settings.level,
        )
        for metric in points[0]
    }


def resampled_weights(tests: Sequence[Cases], settings: Intervals) -> list[NDArray[np.float64]]:
    """How often each test case is drawn in each resample: (resamples, n cases) for each fold."""
    of_cases = [[case[0].patient for case in test.slides] for test in tests]
    patients = tested_patients(tests)
    column = {patient: i for i, patient in enumerate(patients)}
    rng = np.random.default_rng(settings.seed)
    counts = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=settings.n_resamples)
    return [counts[:, [column[patient] for patient in fold]].astype(np.float64) for fold in of_cases]


def tested_patients(tests: Sequence[Cases]) -> list[str]:
    """The patients of all folds' test cases, in the order in which resamples count them."""
    return sorted({case[0].patient for test in tests for case in test.slides})


def interval(points: NDArray[np.float64], resampled: NDArray[np.float64], level: float) -> Interval:
    """The interval of a mean over folds.

    Args:
        points: (folds,) the metric of each fold; NaN where not defined.
        resampled: (folds, resamples) the same of every resample; none: there is no interval.
        level: Confidence level.
    """
    defined = points[~np.isnan(points)]
    if not len(defined):
        return Interval(np.nan, np.nan, np.nan, np.nan, 0)
    known = ~np.isnan(resampled)
    n_known = known.sum(axis=0)
    means = np.full(len(n_known), np.nan)
    np.divide(np.where(known, resampled, 0).sum(axis=0), n_known, out=means, where=n_known > 0)
    low, high = percentile_interval(means, level)
    std = float(defined.std(ddof=1)) if len(defined) > 1 else np.nan
    return Interval(float(defined.mean()), std, low, high, len(defined), means)


def percentile_interval(resampled: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Low and high of what resamples give, (resamples,) of which NaN are left out; NaN where all are."""
    known = resampled[~np.isnan(resampled)]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)

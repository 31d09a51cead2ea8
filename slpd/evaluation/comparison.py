"""Whether two variants differ.

Where encoders are pretrained with several seeds, each is evaluated on the same folds or patients, and what seeds
contribute is counted, too (`seeds.py`).

Where folds test different slides: per-fold differences and the corrected resampled t-test. Folds share training slides,
so their differences are not independent and a plain t-test finds differences too often. Nadeau & Bengio (Machine
Learning 52, 2003) add the ratio of test to training cases to 1 / n in its variance.

Where all folds test the same external cohort, which one fold may do as well: a paired bootstrap over its patients
(Efron & Tibshirani 1993, chapters 13 and 16).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slpd.evaluation.intervals import percentile_interval
from slpd.evaluation.seeds import ROUNDING, Part, defined_folds, of_seeds, student


@dataclass(frozen=True)
class Difference:
    """first - second over the folds in which both are defined."""

    mean: float  # NaN: no fold
    low: float  # of the t interval; NaN where nothing is tested
    high: float
    p_value: float  # two-sided; NaN where nothing is tested
    n_folds: int
    why: str = ""  # nothing is tested; empty: something is


def paired_difference(first: ArrayLike, second: ArrayLike, test_to_train: float, level: float) -> Difference:
    """The mean difference of two evaluations on the same folds.

    Args:
        first: (seeds, folds) a metric with each seed of pretraining in each fold, NaN where it is not defined; with one
            seed of each, (folds,) will do.
        second: The same of the other evaluation; with one seed, if it has no more, it meets each of the first.
        test_to_train: Test cases per training case.
        level: Confidence level of the interval.
    """
    differences = defined_folds(np.atleast_2d(np.subtract(first, second)))
    of_folds, n = differences.mean(axis=0), differences.shape[1]
    if n < 2:
        return untested(
            float(of_folds.mean()) if n else math.nan, n, f"{n or 'no'} fold has both figures, a test needs two"
        )
    mean, variance = float(of_folds.mean()), float(of_folds.var(ddof=1))
    if np.ptp(differences) < ROUNDING:  # no noise to measure the difference by
        if abs(mean) < ROUNDING:
            return Difference(mean, 0.0, 0.0, 1.0, n)
        return untested(mean, n, "the same difference in every fold leaves no noise to test it by")
    folds = Part((1 / n + test_to_train) * variance, n - 1)  # Nadeau & Bengio, eq. 2
    low, high, p_value = student(mean, [folds, *of_seeds(differences.mean(axis=1))], level)
    why = "neither folds nor seeds leave noise to test it by" if math.isnan(p_value) else ""
    return Difference(mean, low, high, p_value, n, why)


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    resampled: tuple[NDArray[np.float64], NDArray[np.float64]],
    level: float,
    n_patients: int,
) -> Difference:
    """The mean difference of two evaluations that test the same patients in every fold.

    With one seed of each, the p-value is twice the smaller share of resamples on one side of 0, the evaluation itself
    counted among them.

    Args:
        first: (seeds, folds) as for `paired_difference`.
        second: The same of the other evaluation.
        resampled: (resamples,) the metric's mean over seeds and folds in the same resamples, of both; none: there are
            none.
        level: Confidence level of the interval.
        n_patients: That are drawn.
    """
    differences = defined_folds(np.atleast_2d(np.subtract(first, second)))
    n_folds, drawn = differences.shape[1], np.subtract(*resampled)
    mean = float(differences.mean()) if n_folds else math.nan
    drawn = drawn[~np.isnan(drawn)]
    if not n_folds or not len(drawn):
        return untested(mean, n_folds, "no resamples of the same patients in which both have a figure")
    if seeds := of_seeds(differences.mean(axis=1)):
        patients = Part(float(drawn.var(ddof=1)), n_patients - 1)
        low, high, p_value = student(mean, [patients, *seeds], level)
        why = "neither patients nor seeds leave noise to test it by" if math.isnan(p_value) else ""
        return Difference(mean, low, high, p_value, n_folds, why)
    sides = min(int((drawn <= ROUNDING).sum()), int((drawn >= -ROUNDING).sum()))
    low, high = percentile_interval(drawn, level)
    return Difference(mean, low, high, min(1.0, 2 * (sides + 1) / (len(drawn) + 1)), n_folds)


def untested(mean: float, n_folds: int, why: str) -> Difference:
    """A difference without interval and p-value."""
    return Difference(mean, math.nan, math.nan, math.nan, n_folds, why)

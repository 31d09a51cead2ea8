"""Whether two variants differ.

Where folds test different slides: per-fold differences and the corrected resampled t-test. Folds share training slides,
so their differences are not independent and a plain t-test finds differences too often. Nadeau & Bengio (Machine
Learning 52, 2003) add the ratio of test to training cases to 1 / n in its variance.

Where all folds test the same external cohort, which one fold may do as well: a paired bootstrap over its patients
(Efron & Tibshirani 1993, chapters 13 and 16).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from slpd.evaluation.intervals import percentile_interval

ROUNDING = 1e-9  # differences of metrics closer than this are equal


@dataclass(frozen=True)
class Difference:
    """first - second over the folds in which both are defined."""

    mean: float  # NaN: no fold
    low: float  # of the t interval; NaN where nothing is tested
    high: float
    p_value: float  # two-sided; NaN where nothing is tested
    n_folds: int
    why: str = ""  # nothing is tested; empty: something is


def paired_difference(
    first: Sequence[float], second: Sequence[float], test_to_train: float, level: float
) -> Difference:
    """The mean difference of two evaluations on the same folds.

    Args:
        first: A metric in each fold; NaN where it is not defined.
        second: The same of the other evaluation.
        test_to_train: Test cases per training case.
        level: Confidence level of the interval.
    """
    differences = np.subtract(first, second)
    differences = differences[~np.isnan(differences)]
    n = len(differences)
    if n < 2:
        return untested(
            float(differences.mean()) if n else math.nan, n, f"{n or 'no'} fold has both figures, a test needs two"
        )
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    if np.ptp(differences) < ROUNDING:  # no noise to measure the difference by
        if abs(mean) < ROUNDING:
            return Difference(mean, 0.0, 0.0, 1.0, n)
        return untested(mean, n, "the same difference in every fold leaves no noise to test it by")
    error = math.sqrt((1 / n + test_to_train) * variance)  # Nadeau & Bengio, eq. 2
    # Of Student's t. scipy.stats has the same values, after a second of imports.
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Difference(mean, mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean) / error)), n)


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    resampled: tuple[NDArray[np.float64], NDArray[np.float64]],
    level: float,
) -> Difference:
    """The mean difference of two evaluations that test the same patients in every fold.

    The p-value is twice the smaller share of resamples on one side of 0, the evaluation itself counted among them.

    Args:
        first: A metric in each fold; NaN where it is not defined.
        second: The same of the other evaluation.
        resampled: (resamples,) the metric's mean over folds in the same resamples, of both; none: there are none.
        level: Confidence level of the interval.
    """
    differences = np.subtract(first, second)
    n_folds, drawn = int((~np.isnan(differences)).sum()), np.subtract(*resampled)
    mean = float(np.nanmean(differences)) if n_folds else math.nan
    drawn = drawn[~np.isnan(drawn)]
    if not n_folds or not len(drawn):
        return untested(mean, n_folds, "no resamples of the same patients in which both have a figure")
    sides = min(int((drawn <= ROUNDING).sum()), int((drawn >= -ROUNDING).sum()))
    low, high = percentile_interval(drawn, level)
    return Difference(mean, low, high, min(1.0, 2 * (sides + 1) / (len(drawn) + 1)), n_folds)


def untested(mean: float, n_folds: int, why: str) -> Difference:
    """A difference without interval and p-value."""
    return Difference(mean, math.nan, math.nan, math.nan, n_folds, why)

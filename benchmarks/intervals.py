"""Means over replicates and intervals of paired differences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Spread(NamedTuple):
    """How a figure comes out over replicates."""

    mean: float
    std: float


class PairedDifference(NamedTuple):
    """The mean of first - second over replicates, and its Student t interval."""

    mean: float
    low: float
    high: float


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """Difference of two treatments of the same replicates.

    Args:
        first: (n,) one value per replicate, n at least 2.
        second: (n,) values of the same replicates in the same order.
    """
    differences = np.subtract(first, second)
    n = len(differences)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    mean = differences.mean()
    return PairedDifference(float(mean), float(mean - half), float(mean + half))


def mean_and_std(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (ddof 1)."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)))

"""Sums over cases for many sets of weights at once."""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]  # (W, n): W sets of weights of n cases
PerSet = NDArray[np.float64]  # (W,): a metric for each set; NaN where it is not defined


def concordance(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m): 1 where `higher` is larger, a half where they are equal, 0 elsewhere."""
    return np.asarray((higher[:, None] > lower) + 0.5 * (higher[:, None] == lower))


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part / whole, NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))


def mean_of_defined(values: NDArray[np.float64]) -> PerSet:
    """The mean over the last axis of what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1).astype(np.float64))

"""Metrics of a regression's test cases, each (W,) for W sets of weights."""

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.weighted import PerSet, Weights, ratio

ROUNDING = 1e-20  # a variance below this share of the mean square is that of equal values


class RegressionMetrics:
    """Of n test cases; a property for each metric."""

    def __init__(self, values: NDArray[np.float64], predicted: NDArray[np.float64], weights: Weights) -> None:
        """Keep what all of them need: true and predicted values, (n,)."""
        self.values, self.predicted, self.weights = values[None], predicted[None], weights
        self.total = weights.sum(axis=1)

    @property
    def r2(self) -> PerSet:
        """Coefficient of determination: 1 less the squared errors over those of the mean of the test cases.

        At most 1; below 0 the mean would predict better. NaN where all values are equal.
        """
        return 1 - ratio(self.mean((self.values - self.predicted) ** 2), self.variance(self.values))

    @property
    def mae(self) -> PerSet:
        """Mean absolute error, in the unit of the values."""
        return self.mean(np.abs(self.values - self.predicted))

    @property
    def pearson(self) -> PerSet:
        """Pearson's correlation of true and predicted values; NaN where either are all equal."""
        return self.correlation(self.values, self.predicted)

    @property
    def spearman(self) -> PerSet:
        """Spearman's: Pearson's of the ranks, equal values having their mean rank."""
        return self.correlation(self.ranks(self.values), self.ranks(self.predicted))

    def ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the cases of each set, a case of weight 2 counting as two, (W, n)."""
        below, equal = (values < values.T).T, values == values.T  # (n, n): of each column, who is below it
        return np.asarray(self.weights @ below + (self.weights @ equal + 1) / 2)

    def correlation(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> PerSet:
        """Pearson's, of (W, n) or (1, n) each."""
        covariance = self.mean((x - self.mean(x)[:, None]) * (y - self.mean(y)[:, None]))
        return ratio(covariance, np.sqrt(self.variance(x) * self.variance(y)))

    def variance(self, x: NDArray[np.float64]) -> PerSet:
        """Mean squared distance from the mean; 0 where only rounding is left of it."""
        variance = self.mean((x - self.mean(x)[:, None]) ** 2)
        return np.where(variance > ROUNDING * self.mean(x**2), variance, 0)

    def mean(self, x: NDArray[np.float64]) -> PerSet:
        """The weighted mean of each set."""
        return ratio((self.weights * x).sum(axis=1), self.total)

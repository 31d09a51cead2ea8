"""Metrics of a survival task's test cases, each (W,) for W sets of weights.

Censoring is made up for by weighting what was observed at t with 1 / G(t), G the probability to be followed that long
(IPCW). G is the Kaplan-Meier estimate of the training cases' censoring: the test cases do not weigh themselves, and
resamples leave it as it is. Up to the last training event G is above 0; nothing later is counted.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.survival import life_table, risk
from slpd.evaluation.weighted import PerSet, Weights, concordance, mean_of_defined, ratio


class SurvivalMetrics:
    """Of n test cases; a property for each metric."""

    def __init__(
        self, outcomes: Outcomes, hazards: NDArray[np.float64], weights: Weights, reference: FoldReference
    ) -> None:
        """Keep what all of them need; without training cases in the reference, c_index alone is defined."""
        self.times, self.seen, self.weights = outcomes.values, outcomes.observed, weights
        self.hazards, self.train = hazards, reference.train
        self.starts = np.empty(0) if reference.starts is None else reference.starts
        self.undefined = np.full(len(weights), np.nan)

    @property
    def c_index(self) -> PerSet:
        """Harrell's concordance index (Harrell et al., JAMA 1982).

        Of all pairs in which one case has its event while the other is still followed (longer, or censored at that very
        time), the share in which that one has the higher risk; equal risks count half.
        """
        return self.concordant(np.ones(len(self.times)))

    @property
    def uno_c_index(self) -> PerSet:
        """Uno's concordance index (Uno et al., Stat. Med. 30, 2011, eq. 6): pairs weigh 1 / G^2 of the earlier event.

        Counted are events up to the last one of training.
        """
        return self.undefined if self.train is None else self.concordant(self.event_weights**2)

    def concordant(self, of_event: NDArray[np.float64]) -> PerSet:
        """The share of comparable pairs that are concordant, with a weight (n,) for each case's event."""
        outlived = (self.times[:, None] < self.times) | ((self.times[:, None] == self.times) & ~self.seen)
        comparable = (of_event * self.seen)[:, None] * outlived  # (n, n): i had its event before j's time ended
        risks = risk(self.hazards)
        agreeing = comparable * concordance(risks, risks)
        share = [((self.weights @ pairs) * self.weights).sum(axis=1) for pairs in (agreeing, comparable)]
        return ratio(*share)

    @property
    def td_auc(self) -> PerSet:
        """Cumulative/dynamic AUC (Uno et al., JASA 102, 2007; Hung & Chiang 2010), mean over the intervals' boundaries.

        At a boundary: the probability that a case with an event before it has a lower predicted survival to it than one
        that is followed to it; events weigh 1 / G. Boundaries without either kind of case are left out.
        """
        if self.train is None:
            return self.undefined
        return mean_of_defined(np.stack([self.auc_at(number) for number in range(len(self.starts))], axis=1))

    def auc_at(self, number: int) -> PerSet:
        """The AUC at one boundary."""
        had, followed, survival = self.at_boundary(number)
        wins = concordance(survival[followed], survival[had])
        late, early = self.weights[:, followed], self.weights[:, had] * self.event_weights[had]
        return ratio(((late @ wins) * early).sum(axis=1), late.sum(axis=1) * early.sum(axis=1))

    @property
    def ibs(self) -> PerSet:
        """Integrated Brier score (Graf et al., Stat. Med. 18, 1999) from 0 to the last boundary, by the trapezoid rule.

        NaN where no case is followed to the last boundary.
        """
        if self.train is None:
            return self.undefined
        scores = np.column_stack([np.zeros(len(self.times)), *map(self.brier_at, range(len(self.starts)))])
        integrals = np.trapezoid(scores, [0, *self.starts], axis=1) / self.starts[-1]  # (n,)
        followed = self.weights @ (self.times >= self.starts[-1])
        return np.where(followed > 0, ratio(self.weights @ integrals, self.weights.sum(axis=1)), np.nan)

    def brier_at(self, number: int) -> NDArray[np.float64]:
        """What each case adds to the Brier score at one boundary, (n,): nothing if it was censored before."""
        had, followed, survival = self.at_boundary(number)
        followed_weights = followed / self.followed_to(self.starts[number])
        return had * self.event_weights * survival**2 + followed_weights * (1 - survival) ** 2

    def at_boundary(self, number: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
        """Which cases had their event before a boundary, which are followed to it, their predicted survival; (n,)."""
        survival = np.asarray(np.cumprod(1 - self.hazards, axis=1)[:, number])
        return self.seen & (self.times < self.starts[number]), self.times >= self.starts[number], survival

    @cached_property
    def event_weights(self) -> NDArray[np.float64]:
        """1 / G just before each case's time, (n,); 0 after the last training event."""
        assert self.train is not None
        counted = self.times <= self.train.values[self.train.observed].max(initial=-np.inf)
        return np.asarray(counted / np.where(counted, self.followed_to(self.times), 1))

    def followed_to(self, times: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """G: the probability in training not to be censored before each time."""
        assert self.train is not None
        table = life_table(self.train.values, self.train.observed)
        return np.concatenate([[1], table.uncensored])[np.searchsorted(table.times, times, side="left")]

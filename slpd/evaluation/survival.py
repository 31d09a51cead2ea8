"""Survival in discrete time: intervals, and the risk that hazards amount to.

Time is cut into intervals; a head gives each interval's hazard, the probability that the event falls into it if it has
not come before (Singer & Willett, J. Educ. Stat. 1993). A censored case is known to have come through its interval.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.errors import EvaluationError


def interval_starts(event_times: NDArray[np.float64], n_bins: int, where: str) -> NDArray[np.float64]:
    """Where intervals 1, 2, ... begin (n_bins - 1,): quantiles of the times of training events; interval 0 begins at 0.

    Raises:
        EvaluationError: there are not enough different times for as many intervals.
    """
    n_times = len(np.unique(event_times))
    starts = np.quantile(event_times, np.arange(1, n_bins) / n_bins) if n_times >= n_bins else np.zeros(n_bins)
    if len(np.unique([0, *starts])) < n_bins:
        raise EvaluationError(
            f"{where}: {len(event_times)} training events at {n_times} different times cannot be"
            f" cut into n_bins = {n_bins} intervals; lower n_bins of the task or use fewer folds"
        )
    return np.asarray(starts)


def interval_of(times: NDArray[np.float64], starts: NDArray[np.float64]) -> NDArray[np.int64]:
    """The interval of each time; a time at a start lies in the interval that begins there."""
    return np.searchsorted(starts, times, side="right").astype(np.int64)


@dataclass(frozen=True)
class LifeTable:
    """Cases at every time at which one ends, each field (K,)."""

    times: NDArray[np.float64]  # ascending
    at_risk: NDArray[np.int64]  # followed to this time, or beyond
    events: NDArray[np.int64]  # at this time
    censored: NDArray[np.int64]  # at this time, after the events

    @property
    def survival(self) -> NDArray[np.float64]:
        """Kaplan-Meier estimate of the probability that the event comes after each time."""
        return np.asarray(np.cumprod(1 - self.events / self.at_risk))

    @property
    def uncensored(self) -> NDArray[np.float64]:
        """The same of censoring, which the events of the same time no longer risk."""
        return np.asarray(np.cumprod(1 - self.censored / np.maximum(self.at_risk - self.events, 1)))

    def followed_to(self, time: float) -> int:
        """How many are followed to a time, or beyond it."""
        return int(np.append(self.at_risk, 0)[np.searchsorted(self.times, time, side="left")])


def life_table(times: NDArray[np.float64], observed: NDArray[np.bool_]) -> LifeTable:
    """Counts of n cases (Kaplan & Meier, JASA 53, 1958)."""
    ends, end_of = np.unique(times, return_inverse=True)
    events, all_ends = (
        np.bincount(end_of[which], minlength=len(ends)) for which in (observed, np.full(len(times), True))
    )
    at_risk = len(times) - np.cumsum(all_ends) + all_ends
    return LifeTable(ends, at_risk, events, all_ends - events)


def risk(hazards: NDArray[np.float64]) -> NDArray[np.float64]:
    """How early the event is expected, (n,): less the sum over intervals of the probability to outlive them.

    Args:
        hazards: (n, bins), each in [0, 1].
    """
    return np.asarray(-np.cumprod(1 - hazards, axis=1).sum(axis=1))

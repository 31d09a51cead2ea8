"""Two groups of test cases by predicted risk, and whether their survival differs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.survival import risk

GROUPS = ("low", "high")


def risk_groups(hazards: NDArray[np.float64], training_hazards: NDArray[np.float64]) -> list[str]:
    """The group of each test case: high where its risk is above the median of the training cases.

    The cut is known before a test case is seen, as it would be in practice, and each fold has its own: the risks of two
    heads have no common scale. Cut at the median of the test cases, a group would depend on who else is tested.

    Args:
        hazards: (n, bins) of the test cases.
        training_hazards: (m, bins) of the training cases.
    """
    cut = np.median(risk(training_hazards))
    return [GROUPS[int(above)] for above in risk(hazards) > cut]


@dataclass(frozen=True)
class LogRank:
    """The test whether two groups have one survival function."""

    statistic: float = np.nan  # of the standard normal distribution; positive: more events in the high group
    p_value: float = np.nan  # two-sided
    why: str = ""  # nothing is tested; empty: something is


def log_rank(high: NDArray[np.bool_], times: NDArray[np.float64], seen: NDArray[np.bool_], n_patients: int) -> LogRank:
    """The log-rank test (Mantel, Cancer Chemother. Rep. 50, 1966) of n cases, which belong to so many patients."""
    if n_patients < len(times):
        return LogRank(why="patients with several test cases are not independent evidence")
    if high.all() or not high.any():
        return LogRank(why=f"all cases are in the {GROUPS[int(high.any())]} group")
    if not seen.any():
        return LogRank(why="no event was seen")
    from scipy import stats  # noqa: PLC0415  a second of processor time, which heads of other tasks do without

    groups = [stats.CensoredData(uncensored=times[g & seen], right=times[g & ~seen]) for g in (high, ~high)]
    with np.errstate(invalid="ignore", divide="ignore"):
        result = stats.logrank(*groups)
    if not np.isfinite(result.statistic):
        return LogRank(why="no event was seen while both groups were followed")
    return LogRank(float(result.statistic), float(result.pvalue))

"""From relative hazards to hazards: the baseline that Cox's partial likelihood leaves open."""

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Outcomes


def breslow_hazards(
    log_hazards: NDArray[np.float64],
    train_log_hazards: NDArray[np.float64],
    train: Outcomes,
    starts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Hazards in the intervals of time, (n, bins), of relative hazards on Breslow's baseline (Breslow 1972).

    The baseline's cumulative hazard grows at each event by 1 / the sum of the relative hazards at risk; an interval's
    hazard is 1 - exp of less its growth there, times the relative hazard.

    Args:
        log_hazards: (n,) logs of relative hazards.
        train_log_hazards: (m,) those of the training cases.
        train: Their times, and which events were seen.
        starts: (bins - 1,) where intervals 1, 2, ... begin.
    """
    largest = train_log_hazards.max()  # taken out of both, so that nothing overflows
    at_risk = train.values >= train.values[train.observed][:, None]  # (events, m)
    growth = 1 / (at_risk @ np.exp(train_log_hazards - largest))
    in_intervals = np.bincount(train.numbers[train.observed], growth, len(starts) + 1)  # (bins,)
    return np.asarray(-np.expm1(-np.exp(log_hazards - largest)[:, None] * in_intervals))

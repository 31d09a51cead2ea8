"""A mean over pretraining seeds and folds, or resampled patients: what both contribute to its interval.

Every seed's encoder meets the same folds and patients. A mean over all of them varies with the slides that were tested
and with the seeds (Bouthillier et al., MLSys 2021, on why seeds count). For each source alone, half the width of an
interval is t times its standard error. For both together it is the root of the sum of squares, as Zou & Donner
combine intervals of two parameters (Statistics in Medicine 27, 2008). What seeds contribute is the variance of their
means, each over all folds, by the number of seeds. What a seed does to single folds is in either source, so that the
interval errs on the wide side.

One t for the sum of variances, with Satterthwaite's degrees of freedom, was tried: with two or three seeds that differ
much, intervals of 95 % held the truth in 88 to 91 % of simulations (this form: 95 to 99 %).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from slpd.evaluation.intervals import Interval

ROUNDING = 1e-9  # differences of metrics closer than this are equal
HIGHEST = 1 - 1e-12  # level up to which p-values are told apart


class Part(NamedTuple):
    """What one source contributes to the variance of a mean."""

    variance: float
    degrees: float  # of freedom in its estimate


def defined_folds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (seeds, folds) the folds in which every seed has a figure."""
    return values[:, ~np.isnan(values).any(axis=0)]


def of_seeds(means: NDArray[np.float64]) -> list[Part]:
    """What seeds contribute, (seeds,) each one's mean; nothing where there is one."""
    n = len(means)
    return [Part(float(means.var(ddof=1)) / n, n - 1)] if n > 1 else []


def half_width(parts: Sequence[Part], level: float) -> float:
    """Half the width of the interval of a mean that varies by these sources."""
    return math.hypot(*(stdtrit(part.degrees, (1 + level) / 2) * math.sqrt(part.variance) for part in parts))


def student(mean: float, parts: Sequence[Part], level: float) -> tuple[float, float, float]:
    """Low and high of the interval of a mean that varies by these sources, and the p-value of its being 0.

    That p-value is 1 less the level whose interval ends at 0. Without any variance the interval has no width, and
    nothing is tested: the p-value of 0 is 1, of others NaN.
    """
    varying = [part for part in parts if part.variance > ROUNDING**2 and part.degrees > 0]
    if not varying:
        return mean, mean, 1.0 if mean == 0 else math.nan
    half = half_width(varying, level)
    return mean - half, mean + half, p_value_of(mean, varying)


def p_value_of(mean: float, parts: Sequence[Part]) -> float:
    """1 less the level whose interval ends at 0, of sources that vary."""
    if len(parts) == 1:
        return float(2 * stdtr(parts[0].degrees, -abs(mean) / math.sqrt(parts[0].variance)))
    if half_width(parts, HIGHEST) < abs(mean):
        return 1 - HIGHEST
    from scipy.optimize import brentq  # noqa: PLC0415  # slow to import, and needed with several seeds alone

    return float(1 - brentq(lambda level: half_width(parts, level) - abs(mean), 0, HIGHEST))


def over_seeds(
    points: NDArray[np.float64],
    resampled: NDArray[np.float64],
    n_patients: int,
    level: float,
    bounds: tuple[float, float],
) -> Interval:
    """A metric over seeds: mean and deviation of the seeds' means over folds, and the interval of the mean.

    Args:
        points: (seeds, folds) the metric, seeds more than one; NaN where it is not defined.
        resampled: (seeds, resamples) each seed's mean over folds in the same resamples of patients; none: there is no
            interval.
        n_patients: That are drawn.
        level: Confidence level.
        bounds: Least and greatest value that the metric can have; the interval ends there.
    """
    points = defined_folds(points)
    if not points.size:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0)
    means, drawn = points.mean(axis=1), resampled.mean(axis=0)
    drawn = drawn[~np.isnan(drawn)]
    mean, low, high = float(means.mean()), math.nan, math.nan
    if len(drawn) > 1:
        patients = Part(float(drawn.var(ddof=1)), n_patients - 1)
        low, high, _ = student(mean, [patients, *of_seeds(means)], level)
    low, high = np.clip([low, high], *bounds)
    return Interval(mean, float(means.std(ddof=1)), float(low), float(high), points.shape[1])

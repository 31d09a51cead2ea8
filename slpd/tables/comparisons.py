"""Which of two variants is better under the same head, beyond noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.resamples import read_resamples
from slpd.evaluation.comparison import Difference, bootstrap_difference, paired_difference
from slpd.evaluation.intervals import RESAMPLED
from slpd.settings.tables import LESS_IS_BETTER, Metric, metrics_of
from slpd.tables.evaluations import Evaluation, Evaluations, interval_of, why_without
from slpd.tables.facts import TaskFacts


@dataclass(frozen=True)
class Comparison:
    """Two variants under the same head, in one column."""

    task: str
    metric: Metric
    head: str
    first: str
    second: str
    difference: Difference

    def better(self, level: float) -> str:
        """The variant that is better beyond noise, at a confidence level; empty: neither."""
        if not self.difference.p_value < 1 - level:  # NaN is not
            return ""
        lead = -self.difference.mean if self.metric in LESS_IS_BETTER else self.difference.mean
        return self.first if lead > 0 else self.second


def comparisons_of(
    tasks: Sequence[TaskFacts],
    metrics: Sequence[Metric],
    heads: Sequence[str],
    variants: Sequence[str],
    evaluations: Evaluations,
    level: float,
) -> list[Comparison]:
    """Every pair of variants under every head, in every column of the table that its task has."""
    return [
        Comparison(task.task, metric, head, *pair, compare(evaluations, task, metric, head, pair, level))
        for task in tasks
        for metric in metrics
        if metric in metrics_of(task.kind)
        for head in heads
        for pair in combinations(variants, 2)
    ]


def compare(
    evaluations: Evaluations, task: TaskFacts, metric: Metric, head: str, pair: tuple[str, str], level: float
) -> Difference:
    """The paired difference of two variants under a head."""
    both = {variant: evaluations[task.task, variant, head] for variant in pair}
    first, second = ([getattr(fold, metric) for fold in evaluation.folds] for evaluation in both.values())
    if task.external:
        difference = bootstrap_difference(first, second, paired_resamples(list(both.values()), metric), level)
    else:
        difference = paired_difference(first, second, task.test_to_train, level)
    reasons = {variant: why_without(interval_of(evaluation, metric)) for variant, evaluation in both.items()}
    missing = "; ".join(f"{variant}: {why}" for variant, why in reasons.items() if why)
    return replace(difference, why=missing or difference.why)


def paired_resamples(both: Sequence[Evaluation], metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A metric of two evaluations in the same resamples of the same patients; nothing where there are none.

    Of an evaluation without figures, of metrics without an interval, or where a variant lacks vectors of some patients.
    """
    nothing = (np.empty(0), np.empty(0))
    if metric not in RESAMPLED or any(interval.why for evaluation in both for interval in evaluation.intervals):
        return nothing
    first, second = (read_resamples(evaluation.resamples, metric) for evaluation in both if evaluation.resamples)
    return (first[0], second[0]) if first[1] == second[1] else nothing

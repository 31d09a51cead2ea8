"""Which of two variants is better under the same head, beyond noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.comparison import Difference, bootstrap_difference, paired_difference
from slpd.settings.tables import LESS_IS_BETTER, Metric, metrics_of
from slpd.tables.evaluations import Evaluation, Evaluations, figures_of, missing_figure, resamples_of
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
    first, second = (figures_of(of_seeds, metric) for of_seeds in both.values())
    if task.external:
        drawn, n_patients = paired_resamples(list(both.values()), metric)
        difference = bootstrap_difference(first, second, drawn, level, n_patients)
    else:
        difference = paired_difference(first, second, task.test_to_train, level)
    reasons = {variant: missing_figure(of_seeds, metric) for variant, of_seeds in both.items()}
    missing = "; ".join(f"{variant}: {why}" for variant, why in reasons.items() if why)
    return replace(difference, why=missing or difference.why)


def paired_resamples(
    both: Sequence[Sequence[Evaluation]], metric: Metric
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], int]:
    """A metric of two variants, mean over seeds, in the same resamples of the same patients, and how many these are.

    Nothing of an evaluation without figures, of metrics without an interval, or where a variant lacks vectors of some
    patients.
    """
    nothing = ((np.empty(0), np.empty(0)), 0)
    if any(interval.why for of_seeds in both for evaluation in of_seeds for interval in evaluation.intervals):
        return nothing
    (first, patients), (second, others) = (resamples_of(of_seeds, metric) for of_seeds in both)
    return ((first.mean(axis=0), second.mean(axis=0)), len(patients)) if patients == others else nothing

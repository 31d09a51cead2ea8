"""Metrics of parts of the test cases, and whether parts differ by more than chance: a permutation test.

A group's metric is the mean over folds, weighted by the cases that the group has in each, of folds in which it is
defined: scores of two folds are of two trained heads and are never compared.

The test asks whether what a head says of a case depends on its group, given its true class (separation, or equalised
odds: Hardt, Price, Srebro, NeurIPS 2016) and the fold. Groups therefore move between patients whose cases have the same
classes in the same folds; the cases of a patient keep their groups together. So every permutation has groups of the
same sizes and the same mixture of classes in every fold, and groups that merely have other classes do not differ. Where
every fold tests groups of its own, as with folds that preserve sites, only groups within a fold are told apart, and
where no fold tests two groups there is no test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.neighbour_agreement import dealt
from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.intervals import RESAMPLED, percentile_interval
from slpd.evaluation.metrics import fold_metrics
from slpd.evaluation.weighted import PerSet, Weights, ratio
from slpd.settings.evaluation import TaskKind
from slpd.settings.tables import OF_TRAINING_CASES, Metric, metrics_of

ROUNDING = 1e-12  # gaps that differ by less are equal

PerMetric = dict[Metric, PerSet]


@dataclass(frozen=True)
class TestedCases:
    """The n test cases of all folds of an evaluation."""

    __test__ = False  # no class of tests

    kind: TaskKind
    folds: NDArray[np.int64]  # (n,)
    patients: NDArray[np.int64]  # (n,) numbers
    strata: NDArray[np.int64]  # (n,) class; of a survival task 1 (event seen) or 0 (censored); of a regression 0
    outcomes: Outcomes
    outputs: NDArray[np.float64]  # (n, C) what the head says of them
    references: Mapping[int, FoldReference]  # of every fold

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.folds)

    def where(self, chosen: NDArray[np.bool_]) -> "TestedCases":
        """Some of the cases."""
        truth = self.outcomes
        outcomes = Outcomes(truth.numbers[chosen], truth.observed[chosen], truth.values[chosen])
        folds, patients, strata = (array[chosen] for array in (self.folds, self.patients, self.strata))
        return TestedCases(self.kind, folds, patients, strata, outcomes, self.outputs[chosen], self.references)


def metrics_of_parts(kind: TaskKind) -> tuple[Metric, ...]:
    """The metrics of a kind of task that test cases and thresholds define."""
    return tuple(metric for metric in metrics_of(kind) if metric not in OF_TRAINING_CASES)


def metrics_over_folds(tested: TestedCases, weights: Weights) -> PerMetric:
    """Every metric for every set of weights: the mean over folds, weighted by the cases that a set has in them.

    Args:
        tested: n test cases.
        weights: (W, n), 0 or more; a group is a set of zeros and ones.
    """
    sums: dict[Metric, list[NDArray[np.float64]]] = {}
    wanted = metrics_of_parts(tested.kind)
    for fold in np.unique(tested.folds).tolist():
        chosen = tested.folds == fold
        part, of_fold = tested.where(chosen), weights[:, chosen]
        metrics = fold_metrics(part.kind, part.outcomes, part.outputs, of_fold, tested.references[fold], wanted)
        for metric, values in metrics.items():
            n_cases = np.where(np.isnan(values), 0, of_fold.sum(axis=1))
            total = sums.setdefault(metric, [np.zeros(len(weights)), np.zeros(len(weights))])
            total[0] += n_cases * np.nan_to_num(values)
            total[1] += n_cases
    return {metric: ratio(*total) for metric, total in sums.items()}


def group_interval(
    tested: TestedCases, n_resamples: int, level: float, rng: np.random.Generator
) -> dict[Metric, tuple[float, float, float]]:
    """Every metric of the cases of a group, with the percentile interval over its patients; NaN where there is none."""
    _, column, n_cases = np.unique(tested.patients, return_inverse=True, return_counts=True)
    drawn = rng.multinomial(len(n_cases), np.full(len(n_cases), 1 / len(n_cases)), size=n_resamples)
    points = metrics_over_folds(tested, np.ones((1, len(tested))))
    resampled = metrics_over_folds(tested, drawn[:, column].astype(np.float64))
    return {
        metric: (
            float(value[0]),
            *((np.nan, np.nan) if metric not in RESAMPLED else percentile_interval(resampled[metric], level)),
        )
        for metric, value in points.items()
    }


@dataclass(frozen=True)
class Gap:
    """The largest gap of a metric between groups."""

    lowest: int  # number of a group; -1: fewer than two groups have the metric
    highest: int
    gap: float
    p_value: float  # NaN: no two patients of different groups can exchange them
    n_groups: int  # that have the metric


def largest_gaps(
    tested: TestedCases, groups: NDArray[np.int64], n_permutations: int, rng: np.random.Generator
) -> dict[Metric, Gap]:
    """The largest gap of every metric between groups, and how often chance makes one as large.

    Args:
        tested: n test cases.
        groups: (n,) number of each case's group, from 0.
        n_permutations: How often groups are dealt out anew.
        rng: Draws the permutations.
    """
    blocks = exchangeable_cases(tested)
    in_sets = np.stack([groups, *(dealt(groups, blocks, rng) for _ in range(n_permutations))])  # (1 + P, n)
    n_groups = int(groups.max()) + 1
    by_group = [metrics_over_folds(tested, (in_sets == number).astype(np.float64)) for number in range(n_groups)]
    gaps = {metric: gap_of(np.stack([of_group[metric] for of_group in by_group])) for metric in by_group[0]}
    if (in_sets == groups).all():
        return {metric: replace(gap, p_value=np.nan) for metric, gap in gaps.items()}
    return gaps


def gap_of(values: NDArray[np.float64]) -> Gap:
    """The gap between (G, 1 + P) values of groups, observed first, then of permutations; NaN: not defined."""
    known = ~np.isnan(values)
    spread = np.where(known, values, -np.inf).max(axis=0) - np.where(known, values, np.inf).min(axis=0)
    n_groups = int(known[:, 0].sum())
    if n_groups < 2:
        return Gap(-1, -1, np.nan, np.nan, n_groups)
    p_value = float((spread >= spread[0] - ROUNDING).mean())  # the observed one counted in: Phipson & Smyth 2010
    observed = values[:, 0]
    return Gap(int(np.nanargmin(observed)), int(np.nanargmax(observed)), float(spread[0]), p_value, n_groups)


def exchangeable_cases(tested: TestedCases) -> list[NDArray[np.int64]]:
    """Patients whose cases have the same classes in the same folds: of each such kind (patients, cases of each)."""
    order = np.lexsort((tested.strata, tested.folds))
    cases: dict[int, list[int]] = {}
    for case in order.tolist():
        cases.setdefault(int(tested.patients[case]), []).append(case)
    kinds: dict[tuple[tuple[int, int], ...], list[list[int]]] = {}
    for of_patient in cases.values():
        kind = tuple((int(tested.folds[case]), int(tested.strata[case])) for case in of_patient)
        kinds.setdefault(kind, []).append(of_patient)
    return [np.array(of_kind) for of_kind in kinds.values() if len(of_kind) > 1]

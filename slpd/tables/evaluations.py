"""The evaluations that a table is made of, and their cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.fold_metrics import FoldMetrics
from slpd.artifacts.evaluation.metric_intervals import MetricInterval
from slpd.artifacts.evaluation.resamples import read_resamples
from slpd.errors import UserError
from slpd.evaluation.intervals import RESAMPLED
from slpd.evaluation.seeds import defined_folds, over_seeds
from slpd.settings.tables import Metric, Table, metrics_of, range_of
from slpd.tables.cells import Cell
from slpd.tables.facts import TaskFacts

NO_THRESHOLD = "no fold has cases of all classes both in validation, by which a threshold is chosen, and in test"
WHY_UNDEFINED: dict[str, str] = {
    "auc": "a class has no test case in any fold",
    "auprc": "a class has no test case in any fold",
    "sensitivity": NO_THRESHOLD,
    "specificity": NO_THRESHOLD,
    "mcc": "one class alone is tested in every fold",
    "kappa": "one class alone is tested and predicted in every fold",
    "c_index": "no two test cases of a fold can be compared",
    "uno_c_index": "no two test cases of a fold can be compared before the last training event",
    "td_auc": "no fold tests both events before a boundary of the intervals and cases followed to it",
    "r2": "the test cases of each fold have one value",
    "pearson": "the test cases, or the predictions, of each fold have one value",
    "spearman": "the test cases, or the predictions, of each fold have one value",
    "ibs": "no test case is followed to the last boundary of the intervals",
}


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation left: a head on a variant's bags in a task."""

    folds: list[FoldMetrics]  # fold 0 first
    intervals: list[MetricInterval]
    resamples: Path | None = None  # of its tested patients; only comparisons on a test cohort read them


# Task, variant, head -> one with each seed of pretraining, that of `training` first; of other variants one.
Evaluations = Mapping[tuple[str, str, str], Sequence[Evaluation]]
Repeats = Mapping[str, Sequence[str]]  # variant -> its names under these seeds; one that is not there has one name


def evaluations_by_name(
    evaluations: Sequence[Evaluation], repeats: Repeats
) -> dict[tuple[str, str, str], list[Evaluation]]:
    """The evaluations by task, variant and head."""
    by_name: dict[tuple[str, str, str], Evaluation] = {}
    for evaluation in evaluations:
        first = evaluation.folds[0]
        names = (first.task, first.variant, first.head)
        if names in by_name:
            raise UserError(
                f"task {names[0]}, variant {names[1]}, head {names[2]}: its metrics are there twice; give each"
                " folder once"
            )
        by_name[names] = evaluation
    further = {repeat for variant, of in repeats.items() for repeat in of if repeat != variant}
    return {
        (task, variant, head): [
            by_name.get((task, repeat, head), Evaluation([], [])) for repeat in repeats.get(variant, [variant])
        ]
        for task, variant, head in by_name
        if variant not in further
    }


def check_evaluations(
    table: Table, task: TaskFacts, variant: str, head: str, evaluations: Evaluations, repeats: Repeats
) -> None:
    """Refuse to show evaluations of which one is missing, of other folds, or without one of its metrics."""
    names = repeats.get(variant, [variant])
    of_seeds = evaluations.get((task.task, variant, head), [Evaluation([], [])] * len(names))
    for name, evaluation in zip(names, of_seeds, strict=True):
        check_evaluation(table, task, name, head, evaluation)


def check_evaluation(table: Table, task: TaskFacts, variant: str, head: str, evaluation: Evaluation) -> None:
    """The same of one of them."""
    if [fold.fold for fold in evaluation.folds] != list(range(task.n_folds)):
        raise UserError(
            f"table {table.name}: task {task.task} has {task.n_folds} folds, but the metrics of variant {variant},"
            f" head {head} are of {len(evaluation.folds)}; run evaluate for it again and give its folder"
        )
    missing = set(metrics_of(task.kind)) - {interval.metric for interval in evaluation.intervals}
    if missing:
        raise UserError(
            f"table {table.name}: task {task.task}, variant {variant}, head {head}: no {', '.join(sorted(missing))} in"
            " intervals.csv; delete the file and run evaluate again"
        )


def cell_of(
    task: TaskFacts,
    variant: str,
    head: str,
    metric: Metric,
    evaluations: Evaluations,
    unavailable: Mapping[str, str],
    level: float,
) -> Cell:
    """A cell of the table."""
    if metric not in metrics_of(task.kind):
        return Cell(why=f"not of {task.kind} tasks")
    if variant in unavailable:
        return Cell(why=unavailable[variant])
    return figure_of(evaluations[task.task, variant, head], task, metric, level)


def figure_of(of_seeds: Sequence[Evaluation], task: TaskFacts, metric: Metric, level: float) -> Cell:
    """A metric over folds, and over seeds where there are several."""
    points = figures_of(of_seeds, metric)
    why = missing_figure(of_seeds, metric)
    if len(of_seeds) == 1:
        of = interval_of(of_seeds[0], metric)
        return Cell(of.mean, of.std, of.low, of.high, of.n_folds, task.n_folds, why, tuple(points[0].tolist()))
    if why:
        return Cell(n_folds=task.n_folds, why=why, n_seeds=len(of_seeds))
    drawn, patients = resamples_of(of_seeds, metric)
    found = over_seeds(points, drawn, len(patients), level, range_of(metric))
    why = "" if found.n_folds else "not defined with every seed in any fold"
    dots = tuple(defined_folds(points).mean(axis=1).tolist())
    return Cell(found.mean, found.std, found.low, found.high, found.n_folds, task.n_folds, why, dots, len(of_seeds))


def missing_figure(of_seeds: Sequence[Evaluation], metric: Metric) -> str:
    """Why a metric has no figure with one of the seeds; empty: it has one with each."""
    reasons = {evaluation.folds[0].variant: why_without(interval_of(evaluation, metric)) for evaluation in of_seeds}
    given = [f"{name}: {why}" if len(of_seeds) > 1 else why for name, why in reasons.items() if why]
    return given[0] if given else ""


def figures_of(of_seeds: Sequence[Evaluation], metric: Metric) -> NDArray[np.float64]:
    """(seeds, folds) a metric; NaN where it is not defined."""
    return np.array([[getattr(fold, metric) for fold in evaluation.folds] for evaluation in of_seeds], np.float64)


def resamples_of(of_seeds: Sequence[Evaluation], metric: Metric) -> tuple[NDArray[np.float64], list[str]]:
    """(seeds, resamples) a metric's mean over folds in the same resamples, and the patients that are drawn."""
    paths = [evaluation.resamples for evaluation in of_seeds if evaluation.resamples]
    if metric not in RESAMPLED or not paths:
        return np.empty((len(of_seeds), 0)), []
    read = [read_resamples(path, metric) for path in paths]
    return np.stack([values for values, _ in read]), read[0][1]


def interval_of(evaluation: Evaluation, metric: Metric) -> MetricInterval:
    """A metric over the folds of an evaluation."""
    return next(interval for interval in evaluation.intervals if interval.metric == metric)


def why_without(interval: MetricInterval) -> str:
    """Why a metric has no figure; empty: it has one."""
    if interval.n_folds or interval.why:
        return interval.why
    return f"not defined: {WHY_UNDEFINED.get(interval.metric, 'no test cases')}"

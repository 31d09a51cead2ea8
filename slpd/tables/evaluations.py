"""The evaluations that a table is made of, and their cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.evaluation.fold_metrics import FoldMetrics
from slpd.artifacts.evaluation.metric_intervals import MetricInterval
from slpd.errors import UserError
from slpd.settings.tables import Metric, Table, metrics_of
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


Evaluations = Mapping[tuple[str, str, str], Evaluation]  # task, variant, head


def evaluations_by_name(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str, str], Evaluation]:
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
    return by_name


def check_evaluation(table: Table, task: TaskFacts, variant: str, head: str, evaluations: Evaluations) -> None:
    """Refuse to show an evaluation that is missing, of other folds, or without one of its metrics."""
    evaluation = evaluations.get((task.task, variant, head), Evaluation([], []))
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
    task: TaskFacts, variant: str, head: str, metric: Metric, evaluations: Evaluations, unavailable: Mapping[str, str]
) -> Cell:
    """A cell of the table."""
    if metric not in metrics_of(task.kind):
        return Cell(why=f"not of {task.kind} tasks")
    if variant in unavailable:
        return Cell(why=unavailable[variant])
    of = interval_of(evaluations[task.task, variant, head], metric)
    return Cell(of.mean, of.std, of.low, of.high, of.n_folds, task.n_folds, why_without(of))


def interval_of(evaluation: Evaluation, metric: Metric) -> MetricInterval:
    """A metric over the folds of an evaluation."""
    return next(interval for interval in evaluation.intervals if interval.metric == metric)


def why_without(interval: MetricInterval) -> str:
    """Why a metric has no figure; empty: it has one."""
    if interval.n_folds or interval.why:
        return interval.why
    return f"not defined: {WHY_UNDEFINED.get(interval.metric, 'no test cases')}"

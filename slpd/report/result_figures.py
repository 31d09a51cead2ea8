"""Figures of a task in a table, with the numbers behind them: folds, ROC curves, calibration, confusion."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from slpd.artifacts.evaluation.fold_metrics import FoldMetrics
from slpd.artifacts.evaluation.metric_intervals import MetricInterval
from slpd.artifacts.evaluation.predictions import Prediction
from slpd.evaluation.reliability import reliability
from slpd.evaluation.roc import mean_roc
from slpd.plots.evaluation_figures import (
    Measured,
    draw_calibration,
    draw_confusion,
    draw_folds,
    draw_regression,
    draw_roc,
)
from slpd.report.site import Rows
from slpd.settings.evaluation import ClassTask, RegressionTask
from slpd.tables.content import TITLES, TableContent

Shown = TypeVar("Shown")
Panels = dict[str, dict[str, NDArray[np.float64]]]  # head -> variant -> points


@dataclass(frozen=True)
class Evaluated:
    """Everything that is known of a head on a variant's region vectors in a task."""

    variant: str
    head: str
    folds: list[FoldMetrics]
    intervals: list[MetricInterval]
    predictions: list[Prediction]  # none where the data did not allow it

    @property
    def why(self) -> str:
        """Why the data did not allow it; empty: they did."""
        return next((interval.why for interval in self.intervals if interval.why), "")


@dataclass(frozen=True)
class DrawnFigure:
    """A figure that is not written yet."""

    kind: str  # part of its file name
    figure: Figure
    title: str
    description: str
    numbers: Rows


# ---- folds ----


def folds_figure(shown: TableContent, task: str) -> list[DrawnFigure]:
    """Every fold, or seed, and the means over them; none where no metric of the table is of the task."""
    panels = fold_panels(shown, task)
    seeds = bool(shown.seeded)
    dots = f"Each small dot is a fold{'; of variants with several pretraining seeds, the mean of a seed' * seeds}"
    interval = f"{100 * shown.level:g} % interval (over patients{', and seeds' * seeds})"
    description = f"{dots}. The mark is their mean, the line its {interval}."
    if not panels:
        return []
    figure = draw_folds(panels, list(dict.fromkeys(row.variant for row in shown.rows)))
    return [DrawnFigure("folds", figure, "Folds and means", description, folds_table(shown, task))]


def fold_panels(shown: TableContent, task: str) -> dict[str, dict[str, list[Measured | None]]]:
    """Title of a metric -> head -> variant after variant; columns without a figure are left out."""
    panels: dict[str, dict[str, list[Measured | None]]] = {}
    for column, (of, metric) in enumerate(shown.columns):
        for row in shown.rows if of == task else ():
            cell = row.cells[column]
            measured = None if cell.why else Measured(cell.points, cell.mean, cell.low, cell.high)
            panels.setdefault(TITLES[metric], {}).setdefault(row.head, []).append(measured)
    return {title: heads for title, heads in panels.items() if any(any(some) for some in heads.values())}


def folds_table(shown: TableContent, task: str) -> Rows:
    """Every metric of every fold, with every seed."""
    rows = [
        asdict(fold)
        for row in shown.rows
        for evaluation in shown.evaluations.get((task, row.variant, row.head), [])
        for fold in evaluation.folds
    ]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


# ---- classes ----


def class_figures(task: ClassTask, evaluations: Sequence[Evaluated]) -> list[DrawnFigure]:
    """ROC curves, where there are any, and calibration."""
    several = len(task.classes) > 2
    what = "mean of one-vs-rest curves" if several else f"positive class: {task.classes[1]}"
    curves = f"True positive rate, averaged over folds at every false positive rate; {what}. Numbers: mean AUC."
    what = "all classes together" if several else f"of {task.classes[1]}"
    tenths = f"Tenths of predicted probability ({what}), test cases of all folds; dots grow with their cases."
    roc = roc_panels(task, evaluations)
    calibration = by_head(evaluations, lambda evaluation: calibration_points(task, evaluation))
    rates = points_table(roc, ["false_positive_rate", "true_positive_rate"])
    shares = points_table(calibration, ["mean_probability", "observed_share", "n_cases"])
    drawn = [DrawnFigure("calibration", draw_calibration(calibration), "Calibration", tenths, shares)]
    if roc:
        drawn.insert(0, DrawnFigure("roc", draw_roc(roc, by_head(evaluations, mean_auc)), "ROC curves", curves, rates))
    return drawn


def confusion_figures(task: ClassTask, evaluations: Sequence[Evaluated]) -> list[DrawnFigure]:
    """A figure of confusion matrices per head."""
    about = "Test cases of all folds by true class (rows) and predicted one; shaded by the share of the row."
    return [
        DrawnFigure(
            f"confusion-{head}",
            draw_confusion(matrices, task.classes),
            f"Confusion, {head}",
            about,
            confusion_table(head, matrices, task.classes),
        )
        for head, matrices in by_head(evaluations, lambda evaluation: confusion_matrix(task, evaluation)).items()
    ]


def regression_figures(task: RegressionTask, evaluations: Sequence[Evaluated]) -> list[DrawnFigure]:
    """A figure of predicted against true values per head."""
    panels = by_head(
        evaluations, lambda each: np.array([(float(case.label), case.outputs[0]) for case in each.predictions])
    )
    return [
        DrawnFigure(
            f"values-{head}",
            draw_regression(of_head, task.label),
            f"Predicted and true values, {head}",
            "Test cases of all folds; on the line a prediction is right.",
            points_table({head: of_head}, ["true", "predicted"]),
        )
        for head, of_head in panels.items()
    ]


def by_head(evaluations: Sequence[Evaluated], value_of: Callable[[Evaluated], Shown]) -> dict[str, dict[str, Shown]]:
    """Head -> variant -> what a function gives of the evaluation."""
    heads: dict[str, dict[str, Shown]] = {}
    for evaluation in evaluations:
        heads.setdefault(evaluation.head, {})[evaluation.variant] = value_of(evaluation)
    return heads


def class_arrays(task: ClassTask, evaluation: Evaluated) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """(n,) true class numbers and (n, C) probabilities of the test cases of every fold."""
    number = {name: place for place, name in enumerate(task.classes)}
    by_fold: dict[int, list[Prediction]] = {}
    for case in evaluation.predictions:
        by_fold.setdefault(case.fold, []).append(case)
    folds = [by_fold[fold] for fold in sorted(by_fold)]
    truth = [np.array([number[case.label] for case in fold], np.int64) for fold in folds]
    return truth, [np.array([case.outputs for case in fold], np.float64) for fold in folds]


def roc_panels(task: ClassTask, evaluations: Sequence[Evaluated]) -> Panels:
    """The mean ROC curve of every evaluation that has one."""
    heads = by_head(evaluations, lambda evaluation: mean_roc(*class_arrays(task, evaluation)))
    drawn = {head: {name: curve for name, curve in curves.items() if len(curve)} for head, curves in heads.items()}
    return {head: curves for head, curves in drawn.items() if curves}


def mean_auc(evaluation: Evaluated) -> float:
    """The mean AUC over folds."""
    return next(interval.mean for interval in evaluation.intervals if interval.metric == "auc")


def calibration_points(task: ClassTask, evaluation: Evaluated) -> NDArray[np.float64]:
    """(n, 3) mean probability, observed share and cases of every tenth of probability.

    Of two classes the second; of more all classes together, each case counting once per class.
    """
    bins = reliability(*class_arrays(task, evaluation))
    shown = [bin_ for bin_ in bins if len(task.classes) > 2 or bin_.class_number == 1]
    points = []
    for low in sorted({bin_.low for bin_ in shown}):
        tenth = [bin_ for bin_ in shown if bin_.low == low]
        cases = np.array([bin_.n_cases for bin_ in tenth], np.float64)
        mean = cases @ [bin_.mean_probability for bin_ in tenth] / cases.sum()
        share = cases @ [bin_.observed_share for bin_ in tenth] / cases.sum()
        points.append((mean, share, cases.sum()))
    return np.array(points)


def confusion_matrix(task: ClassTask, evaluation: Evaluated) -> NDArray[np.int64]:
    """(C, C) test cases of all folds, by true class and predicted one."""
    number = {name: place for place, name in enumerate(task.classes)}
    cases = np.zeros((len(task.classes), len(task.classes)), np.int64)
    for case in evaluation.predictions:
        cases[number[case.label], number[case.predicted]] += 1
    return cases


def points_table(panels: Mapping[str, Mapping[str, NDArray[np.float64]]], columns: Sequence[str]) -> Rows:
    """The points of curves."""
    yield ["head", "variant", *columns]
    for head, curves in panels.items():
        for variant, points in curves.items():
            yield from ([head, variant, *point] for point in points.tolist())


def confusion_table(head: str, matrices: Mapping[str, NDArray[np.int64]], classes: Sequence[str]) -> Rows:
    """Every cell of the matrices of a head."""
    yield ["head", "variant", "true", "predicted", "n_cases"]
    for variant, cases in matrices.items():
        for (true, predicted), n_cases in np.ndenumerate(cases):
            yield [head, variant, classes[true], classes[predicted], int(n_cases)]

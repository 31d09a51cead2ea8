"""The page of a table: its figures with intervals, and per task folds, ROC curves, calibration and confusion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.fold_metrics import FoldMetrics
from slpd.artifacts.metric_intervals import MetricInterval
from slpd.artifacts.predictions import Prediction
from slpd.evaluation.reliability import reliability
from slpd.evaluation.roc import mean_roc
from slpd.plots.evaluation import Measured
from slpd.report.words import decimal
from slpd.settings.evaluation import ClassTask
from slpd.settings.tables import metrics_of
from slpd.tables.cells import PrintedCell
from slpd.tables.content import TITLES, TableContent
from slpd.tables.facts import TaskFacts

DifferenceRow = list[str]
DIFFERENCE_COLUMNS = ("task", "metric", "head", "first", "second", "difference", "interval", "p")


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
        return next((one.why for one in self.intervals if one.why), "")


def results_context(content: TableContent, downloads: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What the page shows of the table itself.

    Args:
        content: The table.
        downloads: Name and path in the report of the table's files.
    """
    return {
        "caption": content.caption,
        "groups": [(task, len(list(group))) for task, group in groupby(content.printed, key=lambda column: column[0])],
        "titles": [title for _, title in content.printed],
        "rows": [
            {
                "head": row.head,
                "variant": row.variant,
                "cells": [shown_cell(cell) for cell in content.printed_cells(row)],
            }
            for row in content.rows
        ],
        "legend": content.legend,
        "sources": content.source_texts,
        "facts": content.tasks,
        "downloads": downloads,
        "difference_columns": [
            {"title": title, "kind": "number" if place > 4 else "text"}
            for place, title in enumerate(DIFFERENCE_COLUMNS)
        ],
        "differences": [difference_row(content, place) for place in range(len(content.comparisons))],
        "level": f"{100 * content.level:g}",
    }


def shown_cell(cell: PrintedCell) -> dict[str, Any]:
    """A cell as mean and what stands behind it in small print."""
    if cell.is_reason:
        return {"text": cell.text, "small": "", "best": False, "reason": True}
    text, bracket, rest = cell.text.partition(" (")
    return {"text": text, "small": bracket.lstrip() + rest, "best": cell.is_best, "reason": False}


def difference_row(content: TableContent, place: int) -> DifferenceRow:
    """A paired difference as a line of the page's table."""
    found = content.comparisons[place]
    difference = found.difference
    interval = "–" if math.isnan(difference.low) else f"{difference.low:+.3f} to {difference.high:+.3f}"
    names = [found.task, TITLES[found.metric], found.head, found.first, found.second]
    mean = "–" if math.isnan(difference.mean) else f"{difference.mean:+.3f}"
    return [*names, mean, interval, decimal(difference.p_value)]


def folds_of(
    task: TaskFacts,
    evaluations: Sequence[Evaluated],
    metrics: Sequence[str],
    heads: Sequence[str],
    variants: Sequence[str],
) -> dict[str, dict[str, list[Measured | None]]]:
    """Title of a metric -> head -> variant after variant; metrics of other kinds of task are left out."""
    found = {(one.head, one.variant): one for one in evaluations}
    return {
        TITLES[metric]: {head: [measured(found.get((head, variant)), metric) for variant in variants] for head in heads}
        for metric in metrics_of(task.kind)
        if metric in metrics
    }


def measured(evaluated: Evaluated | None, metric: str) -> Measured | None:
    """A metric of an evaluation; None where there is none or it is not defined."""
    if evaluated is None:
        return None
    (interval,) = (one for one in evaluated.intervals if one.metric == metric)
    folds = [float(getattr(fold, metric)) for fold in evaluated.folds]
    return Measured(folds, interval.mean, interval.low, interval.high) if interval.n_folds else None


def class_arrays(
    task: ClassTask, predictions: Sequence[Prediction]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """(n,) true class numbers and (n, C) probabilities of the test cases of every fold."""
    number = {name: place for place, name in enumerate(task.classes)}
    folds = [[one for one in predictions if one.fold == fold] for fold in sorted({one.fold for one in predictions})]
    truth = [np.array([number[one.label] for one in fold], np.int64) for fold in folds]
    return truth, [np.array([one.outputs for one in fold], np.float64) for fold in folds]


Panels = dict[str, dict[str, NDArray[np.float64]]]  # head -> variant -> points


def roc_panels(task: ClassTask, evaluations: Sequence[Evaluated]) -> Panels:
    """The mean ROC curve of every evaluation that has one."""
    panels: Panels = {}
    for one in evaluations:
        curve = mean_roc(*class_arrays(task, one.predictions))
        if len(curve):
            panels.setdefault(one.head, {})[one.variant] = curve
    return panels


def mean_aucs(evaluations: Sequence[Evaluated]) -> dict[str, dict[str, float]]:
    """Head -> variant -> mean AUC over folds."""
    means: dict[str, dict[str, float]] = {}
    for one in evaluations:
        (means.setdefault(one.head, {})[one.variant],) = (i.mean for i in one.intervals if i.metric == "auc")
    return means


def calibration_panels(task: ClassTask, evaluations: Sequence[Evaluated]) -> Panels:
    """(n, 3) mean probability, observed share and cases of every tenth of probability.

    Of two classes the second; of more all classes together, each case counting once per class.
    """
    panels: Panels = {}
    for one in evaluations:
        bins = reliability(*class_arrays(task, one.predictions))
        shown = [found for found in bins if len(task.classes) > 2 or found.class_number == 1]
        points = []
        for low in sorted({found.low for found in shown}):
            tenth = [found for found in shown if found.low == low]
            cases = np.array([found.n_cases for found in tenth], np.float64)
            mean = cases @ [found.mean_probability for found in tenth] / cases.sum()
            share = cases @ [found.observed_share for found in tenth] / cases.sum()
            points.append((mean, share, cases.sum()))
        panels.setdefault(one.head, {})[one.variant] = np.array(points)
    return panels


def confusion_panels(task: ClassTask, evaluations: Sequence[Evaluated]) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Head -> variant -> (C, C) test cases of all folds, by true class and predicted one."""
    panels: dict[str, dict[str, NDArray[np.int64]]] = {}
    number = {name: place for place, name in enumerate(task.classes)}
    for one in evaluations:
        cases = np.zeros((len(task.classes), len(task.classes)), np.int64)
        for prediction in one.predictions:
            cases[number[prediction.label], number[prediction.predicted]] += 1
        panels.setdefault(one.head, {})[one.variant] = cases
    return panels


CsvTable = tuple[list[str], list[list[object]]]


def folds_table(evaluations: Sequence[Evaluated]) -> CsvTable:
    """Every metric of every fold."""
    rows = [asdict(fold) for one in evaluations for fold in one.folds]
    return list(rows[0]), [list(row.values()) for row in rows]


def points_table(panels: Mapping[str, Mapping[str, NDArray[np.float64]]], columns: Sequence[str]) -> CsvTable:
    """The points of curves."""
    rows: list[list[object]] = [
        [head, variant, *map(float, point)]
        for head, curves in panels.items()
        for variant, points in curves.items()
        for point in points
    ]
    return ["head", "variant", *columns], rows


def confusion_table(panels: Mapping[str, Mapping[str, NDArray[np.int64]]], classes: Sequence[str]) -> CsvTable:
    """Every cell of every matrix."""
    rows: list[list[object]] = [
        [head, variant, classes[true], classes[predicted], int(count)]
        for head, matrices in panels.items()
        for variant, cases in matrices.items()
        for (true, predicted), count in np.ndenumerate(cases)
    ]
    return ["head", "variant", "true", "predicted", "n_cases"], rows

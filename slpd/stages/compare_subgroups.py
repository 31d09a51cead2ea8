"""Compare metrics between parts of the test cases of a task: sites, scanners, sexes, bands of age."""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.fold_metrics import read_fold_metrics
from slpd.artifacts.evaluation.predictions import Prediction, read_predictions
from slpd.artifacts.evaluation.subgroup_tables import SubgroupFigure, SubgroupGap, write_figures, write_gaps
from slpd.artifacts.slides.sheet import read_sheet
from slpd.evaluation.cases import Outcomes
from slpd.evaluation.fold_reference import FoldReference, reference_of_text
from slpd.evaluation.subgroup_values import UNKNOWN, group_of_case, groups_of, in_order
from slpd.evaluation.subgroups import TestedCases, group_interval, largest_gaps, metrics_of_parts
from slpd.evaluation.tasks import SEEN
from slpd.settings.evaluation import ClassTask, Intervals, RegressionTask, SurvivalTask, TaskSettings, task_from_json
from slpd.settings.subgroups import SubgroupColumn, Subgroups

log = logging.getLogger(__name__)

NO_FIGURE = (float("nan"),) * 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--evaluations",
        type=Path,
        nargs="+",
        required=True,
        help="folders <variant>/<head> with predictions.csv and metrics.csv",
    )
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet with the columns (CSV)")
    parser.add_argument("--task", required=True, help="the task (JSON)")
    parser.add_argument("--settings", required=True, help="section subgroups of the config (JSON)")
    parser.add_argument("--intervals", required=True, help="section intervals of the config (JSON)")
    parser.add_argument("--gaps", type=Path, required=True, help="largest gaps between groups to write (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="metrics of groups to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Read predictions and sheet, compare, write."""
    task, settings = task_from_json(args.task), Subgroups.from_json(args.settings)
    intervals, rows = Intervals.from_json(args.intervals), read_sheet(args.sheet)
    figures: list[SubgroupFigure] = []
    gaps: list[SubgroupGap] = []
    for folder in args.evaluations:
        predictions = read_predictions(folder / "predictions.csv")  # none where the data did not allow the evaluation
        folds = read_fold_metrics(folder / "metrics.csv")
        references = {fold.fold: reference_of_text(fold.thresholds) for fold in folds}
        for column in settings.columns if predictions else []:
            groups = groups_of(column, rows)
            parted = Parted(task, (folder.parent.name, folder.name), column, predictions, references, groups)
            figures += parted.figures(settings, intervals)
            gaps += parted.gaps(settings)
    for gap in gaps:
        log.info(
            "%s, %s: %s between values of %s: largest gap %.3f (%s to %s), p %.2g",
            *(gap.variant, gap.head, gap.metric, gap.column, gap.gap, gap.lowest, gap.highest, gap.p_value),
        )
    write_figures(args.out, figures)
    write_gaps(args.gaps, gaps)


class Parted:
    """The test cases of an evaluation, parted by a column.

    Args:
        task: The task.
        names: Of variant and head.
        column: What parts the cases.
        predictions: Of all folds.
        references: Of every fold.
        groups: Slide -> group.
    """

    def __init__(
        self,
        task: TaskSettings,
        names: tuple[str, str],
        column: SubgroupColumn,
        predictions: Sequence[Prediction],
        references: Mapping[int, FoldReference],
        groups: Mapping[str, str],
    ) -> None:
        self.task, self.column, self.source = task, column, (*names, column.column)
        self.tested = tested_cases(task, predictions, references)
        self.groups = np.array([group_of_case(case.slides, groups) for case in predictions])
        self.names = in_order(column, self.groups.tolist())

    def n_patients(self, group: str) -> int:
        """The patients of a group."""
        return len(np.unique(self.tested.patients[self.groups == group]))

    def figures(self, settings: Subgroups, intervals: Intervals) -> Iterator[SubgroupFigure]:
        """The metrics of every group, or why it has none."""
        if not self.names:
            return
        for group in [*self.names, *([UNKNOWN] if (self.groups == UNKNOWN).any() else [])]:
            members, n_patients = self.groups == group, self.n_patients(group)
            source = (*self.source, group, int(members.sum()), n_patients)
            if why := why_none(group, n_patients, settings.min_patients):
                for metric in metrics_of_parts(self.task.kind):
                    yield SubgroupFigure(*source, metric, *NO_FIGURE, intervals.level, why)
                continue
            rng = np.random.default_rng([settings.seed, *group.encode()])
            of_group = group_interval(self.tested.where(members), intervals.n_resamples, intervals.level, rng)
            for metric, (value, low, high) in of_group.items():
                why = "not defined in any fold" if np.isnan(value) else ""
                yield SubgroupFigure(*source, metric, value, low, high, intervals.level, why)

    def gaps(self, settings: Subgroups) -> Iterator[SubgroupGap]:
        """The largest gaps between groups with figures; none where fewer than two have any.

        Nor of a regression: groups exchange cases of equal outcomes, which values hardly are.
        """
        shown = [group for group in self.names if self.n_patients(group) >= settings.min_patients]
        if len(shown) < 2 or isinstance(self.task, RegressionTask):
            return
        members = np.isin(self.groups, shown)
        numbers = np.array([shown.index(group) for group in self.groups[members]], np.int64)
        rng = np.random.default_rng([settings.seed, *self.column.column.encode()])
        by_metric = largest_gaps(self.tested.where(members), numbers, settings.permutations, rng)
        for metric, gap in by_metric.items():
            if gap.n_groups > 1:
                lowest, highest = shown[gap.lowest], shown[gap.highest]
                n, p = settings.permutations, gap.p_value
                yield SubgroupGap(*self.source, metric, gap.n_groups, lowest, highest, gap.gap, p, n)


def why_none(group: str, n_patients: int, least: int) -> str:
    """Why a group has no figures; empty: it has."""
    if group == UNKNOWN:
        return "no value in the sheet, or slides that differ in it"
    return f"fewer than {least} patients" if n_patients < least else ""


def tested_cases(
    task: TaskSettings, predictions: Sequence[Prediction], references: Mapping[int, FoldReference]
) -> TestedCases:
    """The test cases of all folds as arrays."""
    outcomes = outcomes_of(task, predictions)
    _, patients = np.unique([case.patient for case in predictions], return_inverse=True)
    return TestedCases(
        task.kind,
        np.array([case.fold for case in predictions], np.int64),
        patients.astype(np.int64),
        outcomes.observed.astype(np.int64) if isinstance(task, SurvivalTask) else outcomes.numbers,
        outcomes,
        outputs_of(predictions),
        references,
    )


def outputs_of(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """(n, C) what a head says of its cases."""
    return np.array([case.outputs for case in predictions], np.float64)


def outcomes_of(task: TaskSettings, predictions: Sequence[Prediction]) -> Outcomes:
    """The truth of cases; of survival tasks without intervals of time, which no metric needs."""
    n = len(predictions)
    if isinstance(task, ClassTask):
        numbers = np.array([task.classes.index(case.label) for case in predictions], np.int64)
        return Outcomes(numbers, np.ones(n, bool), np.full(n, np.nan))
    observed = np.array([case.event == SEEN or isinstance(task, RegressionTask) for case in predictions])
    return Outcomes(np.zeros(n, np.int64), observed, np.array([float(case.label) for case in predictions]))

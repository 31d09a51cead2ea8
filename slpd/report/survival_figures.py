"""What a table's page shows of a survival task: Kaplan-Meier curves of risk groups, and log-rank tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.predictions import Prediction
from slpd.evaluation.risk_groups import GROUPS, LogRank, log_rank
from slpd.evaluation.survival import LifeTable, life_table
from slpd.evaluation.tasks import SEEN
from slpd.plots.survival_figures import GroupCurves, draw_survival
from slpd.report.result_figures import DrawnFigure, Evaluated, by_head
from slpd.report.site import Rows
from slpd.report.words import decimal, significant
from slpd.settings.evaluation import SurvivalTask

NOT_TESTED = "not tested, because"
ALL_FOLDS = "all"  # in place of a fold's number
ABOUT = (
    "Test cases of all folds by predicted risk: above the median of their fold's training cases (high) or not (low)."
    " Pale lines are single folds, ticks censored cases."
)
TEST_COLUMNS = ("head", "variant", "fold", "cases low", "cases high", "events low", "events high", "z", "p", NOT_TESTED)


def survival_figures(task: SurvivalTask, evaluations: Sequence[Evaluated]) -> list[DrawnFigure]:
    """A figure of survival curves per head."""
    return [
        DrawnFigure(
            f"survival-{head}",
            draw_survival({variant: group_curves(cases) for variant, cases in of_variants.items()}, GROUPS, task.time),
            f"Survival, {head}",
            ABOUT,
            curve_rows(head, of_variants),
        )
        for head, of_variants in by_head(evaluations, lambda evaluation: evaluation.predictions).items()
    ]


def by_fold(cases: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """The test cases of all folds, then of each."""
    numbers = sorted({case.fold for case in cases})
    return {ALL_FOLDS: list(cases)} | {str(fold): [case for case in cases if case.fold == fold] for fold in numbers}


def group_curves(cases: Sequence[Prediction]) -> GroupCurves:
    """What a panel shows of an evaluation."""
    pooled, *folds = by_fold(cases).values()
    test = tested(pooled)
    words = test.why or f"log-rank p = {significant(test.p_value, 2)}"
    return GroupCurves(life_tables(pooled), [life_tables(fold) for fold in folds], words)


def life_tables(cases: Sequence[Prediction]) -> dict[str, LifeTable]:
    """Group -> its cases over time; groups without cases are absent."""
    members = {group: [case for case in cases if case.group == group] for group in GROUPS}
    return {group: life_table(times(some), seen(some)) for group, some in members.items() if some}


def tested(cases: Sequence[Prediction]) -> LogRank:
    """The test whether the groups differ."""
    high = np.array([case.group == GROUPS[1] for case in cases])
    return log_rank(high, times(cases), seen(cases), len({case.patient for case in cases}))


def times(cases: Sequence[Prediction]) -> NDArray[np.float64]:
    """Times to event or censoring, (n,)."""
    return np.array([float(case.label) for case in cases])


def seen(cases: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Which events were seen, (n,)."""
    return np.array([case.event == SEEN for case in cases], bool)


def curve_rows(head: str, of_variants: dict[str, list[Prediction]]) -> Rows:
    """The curves of all folds, and of each."""
    yield ["head", "variant", "fold", "group", "time", "n_at_risk", "n_events", "n_censored", "survival"]
    for variant, cases in of_variants.items():
        for fold, of_fold in by_fold(cases).items():
            for group, table in life_tables(of_fold).items():
                columns = (table.times, table.at_risk, table.events, table.censored, table.survival)
                for values in zip(*(column.tolist() for column in columns), strict=True):
                    yield [head, variant, fold, group, *values]


def test_rows(evaluations: Sequence[Evaluated]) -> list[list[object]]:
    """A line per evaluation and fold, and one for all folds; a reason where nothing is tested."""
    rows: list[list[object]] = []
    for evaluation in evaluations:
        for fold, cases in by_fold(evaluation.predictions).items():
            sizes = [sum(case.group == group for case in cases) for group in GROUPS]
            events = [sum(case.group == group and case.event == SEEN for case in cases) for group in GROUPS]
            test = tested(cases)
            figures = [decimal(test.statistic), significant(test.p_value, 2), test.why]
            rows.append([evaluation.head, evaluation.variant, fold, *sizes, *events, *figures])
    return rows

"""The page of a table: its figures with intervals, and per task folds, ROC curves, calibration and confusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from slpd.report.navigation import page_name
from slpd.report.result_figures import (
    DrawnFigure,
    Evaluated,
    class_figures,
    confusion_figures,
    folds_figure,
    regression_figures,
)
from slpd.report.robustness_part import ByVariant, robustness_part
from slpd.report.site import FigureBlock, Site, columns
from slpd.report.subgroups_part import SubgroupResults, subgroups_part
from slpd.report.survival_figures import NOT_TESTED, TEST_COLUMNS, survival_figures, test_rows
from slpd.report.words import NONE, decimal
from slpd.settings.evaluation import ClassTask, RegressionTask, SurvivalTask, TaskSettings
from slpd.settings.tables import Table
from slpd.tables.cells import PrintedCell
from slpd.tables.content import TITLES, TableContent
from slpd.tables.facts import TaskFacts

DIFFERENCE_NAMES = ["task", "metric", "head", "first", "second"]
DIFFERENCE_COLUMNS = [*columns(DIFFERENCE_NAMES, ["difference", "interval", "p"]), *columns([NOT_TESTED])]
SURVIVAL_NOTE = (
    "A p-value of all folds takes them for independent, though each fold's cases trained the heads of the others"
    " (Simon et al., Brief. Bioinform. 12, 2011): it describes the curves, and is no proof."
)
SEEDS_NOTE = (
    "Variants with several pretraining seeds: only the table and the figure of folds have all of them. The figures"
    " below that one, means in their legends, subgroups and robustness are of training.seed."
)


@dataclass(frozen=True)
class TaskResults:
    """What a table's page shows of a task."""

    task: TaskSettings
    facts: TaskFacts
    evaluations: Sequence[Evaluated]
    subgroups: SubgroupResults
    robustness: ByVariant


def write_results(
    site: Site,
    table: Table,
    shown: TableContent,
    tasks: Sequence[TaskResults],
    downloads: Sequence[tuple[str, str]],
    differences: str,
) -> None:
    """Write the page; `downloads` are names and paths of the table's files, `differences` the path of one more."""
    context = {
        **table_part(shown),
        **differences_part(shown),
        "downloads": downloads,
        "differences_csv": differences,
        "sections": [task_section(site, table, shown, results) for results in tasks],
    }
    site.write_page(page_name("results", table.name), "results.html.j2", context)


def table_part(shown: TableContent) -> dict[str, Any]:
    """What the page shows of the table itself."""
    return {
        "caption": shown.caption,
        "groups": [(task, len(list(group))) for task, group in groupby(shown.printed, key=lambda column: column[0])],
        "titles": [title for _, title in shown.printed],
        "rows": [
            {"head": row.head, "variant": row.variant, "cells": list(map(shown_cell, shown.printed_cells(row)))}
            for row in shown.rows
        ],
        "legend": shown.legend,
        "sources": shown.source_texts,
        "facts": shown.tasks,
        "level": f"{100 * shown.level:g}",
    }


def shown_cell(cell: PrintedCell) -> dict[str, Any]:
    """A cell as mean and what stands behind it in small print."""
    if cell.is_reason:
        return {"text": cell.text, "small": "", "best": False, "reason": True}
    text, bracket, rest = cell.text.partition(" (")
    return {"text": text, "small": bracket.lstrip() + rest, "best": cell.is_best, "reason": False}


def differences_part(shown: TableContent) -> dict[str, Any]:
    """What the page shows of the paired differences of variants."""
    rows = []
    for comparison in shown.comparisons:
        difference = comparison.difference
        names = [comparison.task, TITLES[comparison.metric], comparison.head, comparison.first, comparison.second]
        mean = NONE if math.isnan(difference.mean) else f"{difference.mean:+.3f}"
        interval = NONE if math.isnan(difference.low) else f"{difference.low:+.3f} to {difference.high:+.3f}"
        rows.append([*names, mean, interval, decimal(difference.p_value), difference.why])
    return {"difference_columns": DIFFERENCE_COLUMNS, "differences": rows}


def task_section(site: Site, table: Table, shown: TableContent, results: TaskResults) -> dict[str, object]:
    """What the page shows of a task, its figures written."""
    task, tested = results.task, [evaluation for evaluation in results.evaluations if evaluation.predictions]
    drawn, confusion = [], []
    if tested:
        drawn += folds_figure(shown, task.name)
    if tested and isinstance(task, ClassTask):
        drawn += class_figures(task, tested)
        confusion += confusion_figures(task, tested)
    if isinstance(task, SurvivalTask):
        drawn += survival_figures(task, tested)
    if tested and isinstance(task, RegressionTask):
        drawn += regression_figures(task, tested)
    prefix = f"{table.name}-{task.name}"
    return {
        "task": task.name,
        "seeds": SEEDS_NOTE if shown.seeded else "",
        "figures": [write_drawn(site, prefix, figure) for figure in drawn],
        "confusion": [write_drawn(site, prefix, figure) for figure in confusion],
        "tests": log_rank_part(site, prefix, tested) if tested and isinstance(task, SurvivalTask) else None,
        "subgroups": subgroups_part(site, prefix, table, results.subgroups),
        "robustness": robustness_part(site, prefix, results.robustness),
        "failed": [f"{failed.head} on {failed.variant}: {failed.why}" for failed in results.evaluations if failed.why],
    }


def log_rank_part(site: Site, prefix: str, evaluations: Sequence[Evaluated]) -> dict[str, object]:
    """The log-rank tests of a survival task, their file written."""
    rows = test_rows(evaluations)
    return {
        "columns": [*columns(TEST_COLUMNS[:3], TEST_COLUMNS[3:-1]), *columns(TEST_COLUMNS[-1:])],
        "rows": rows,
        "csv": site.write_csv(f"{prefix}-log-rank", [TEST_COLUMNS, *rows]),
        "note": SURVIVAL_NOTE,
    }


def write_drawn(site: Site, prefix: str, drawn: DrawnFigure) -> FigureBlock:
    """Write a figure with its numbers."""
    name = f"{prefix}-{drawn.kind}"
    return site.write_figure(name, drawn.figure, drawn.title, drawn.description, site.write_csv(name, drawn.numbers))

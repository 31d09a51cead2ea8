"""Check that a cohort has all that the experiment needs, before GPU time is spent."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.slides.finished_slide import read_batch
from slpd.artifacts.slides.sheet import SheetRow, read_sheet
from slpd.cohort_check import CohortPlan, check_cohort
from slpd.evaluation.no_figures import no_figures_text
from slpd.evaluation.task_folds import fold_warnings, make_folds
from slpd.evaluation.tasks import labelled_slides
from slpd.settings.evaluation import TaskSettings
from slpd.settings.heads import AnyHead

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet (CSV)")
    parser.add_argument(
        "--records", type=Path, required=True, nargs="+", help="records of tile_regions, of every batch"
    )
    parser.add_argument("--plan", required=True, help="what is needed of the cohort (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="findings to write (text)")


def run(args: argparse.Namespace) -> None:
    """Read sheet and records, check, write the findings."""
    sheet = read_sheet(args.sheet)
    known = {finished.record.slide: finished.record for path in args.records for finished in read_batch(path)}
    records = [known[row.slide] for row in sheet]
    plan = CohortPlan.from_json(args.plan)
    findings = check_cohort(plan, records, sheet)
    usable = {record.slide for record in records if record.status == "ok"}
    slides = [row for row in sheet if row.slide in usable]
    warnings = [line for task in plan.tasks for line in task_warnings(task, slides, plan.heads.get(task.name, []))]
    for line in findings:
        log.info(line)
    for line in warnings:
        log.warning(line)
    write_text(args.out, "\n".join([*findings, *warnings]) + "\n")


def task_warnings(task: TaskSettings, usable: Sequence[SheetRow], heads: Sequence[AnyHead]) -> list[str]:
    """What the folds of a task do not allow, although the task can be split.

    Raises:
        UserError: it cannot be, or a fold cannot be trained on.
    """
    folds = make_folds(task, labelled_slides(task, usable))
    # A test cohort takes the place of these test slides.
    shown = [replace(fold, test=[]) for fold in folds] if task.test_cohort else folds
    warnings = (f"task {task.name}: {line}" for line in fold_warnings(task, shown))
    return [*warnings, *no_figures_text(task, folds, heads)]

"""Check a cohort against everything that is asked of it, before GPU time is spent."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.sheet import read_sheet
from slpd.artifacts.slide_record import read_record
from slpd.cohort_check import CohortPlan, check_cohort, check_heads
from slpd.evaluation.cases import grouped, time_intervals
from slpd.evaluation.tasks import labelled_slides, n_cases
from slpd.evaluation.training_classes import untrained_text
from slpd.settings.evaluation import SurvivalTask
from slpd.stages.split_folds import folds_of

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet (CSV)")
    parser.add_argument("--records", type=Path, required=True, help="folder of the records of tile_regions")
    parser.add_argument("--plan", required=True, help="what is asked of the cohort (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="findings to write (text)")


def run(args: argparse.Namespace) -> None:
    """Read sheet and records, check, write the findings."""
    sheet = read_sheet(args.sheet)
    records = [read_record(args.records / f"{row.slide}.json") for row in sheet]
    plan = CohortPlan.from_json(args.plan)
    findings = check_cohort(plan, records, sheet)
    usable = {record.slide for record in records if record.status == "ok"}
    for task in plan.tasks:
        folds = folds_of(task, [slide for slide in labelled_slides(task, sheet) if slide.slide in usable])
        findings += [f"task {task.name}: {line}" for line in untrained_text(task, folds)]
        check_heads(plan, task.name, [n_cases(fold.train, task) for fold in folds])
        if isinstance(task, SurvivalTask):
            for number, fold in enumerate(folds):
                time_intervals(number, grouped(fold.train, task.level), task)
    for line in findings:
        log.info(line)
    write_text(args.out, "\n".join(findings) + "\n")

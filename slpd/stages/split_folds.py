"""Split the labelled, usable slides of a task into folds."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.evaluation.absent_slides import write_absent
from slpd.artifacts.evaluation.fold_balance import write_balance
from slpd.artifacts.evaluation.folds import write_folds
from slpd.artifacts.slides.manifest import used_slides
from slpd.artifacts.slides.sheet import read_sheet
from slpd.evaluation.balance import balance_text, fold_balance
from slpd.evaluation.external import external_slides, folds_tested_on
from slpd.evaluation.imported_folds import absent_slides
from slpd.evaluation.task_folds import fold_warnings, make_folds, splits_of, stratified_folds
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import task_from_json

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet with the labels (CSV)")
    parser.add_argument("--manifest", type=Path, required=True, help="cohort manifest (CSV)")
    # `?`: the rule writes both options also for tasks that have no test cohort
    parser.add_argument("--test-sheet", type=Path, nargs="?", help="sheet of the task's test cohort (CSV)")
    parser.add_argument("--test-manifest", type=Path, nargs="?", help="manifest of the task's test cohort (CSV)")
    parser.add_argument("--task", required=True, help="the task (JSON)")
    parser.add_argument(
        "--absent", type=Path, required=True, help="slides that split files name and no fold has, to write (CSV)"
    )
    parser.add_argument("--balance", type=Path, required=True, help="test slides of folds and classes, to write (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="folds to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Read sheet and manifest, split, write."""
    task = task_from_json(args.task)
    used, sheet = {row.record.slide for row in used_slides(args.manifest)}, read_sheet(args.sheet)
    labelled = labelled_slides(task, sheet)
    slides = [slide for slide in labelled if slide.slide in used]
    check_task(task, slides)
    folds = make_folds(task, slides)
    if task.test_cohort:
        usable = {row.record.slide for row in used_slides(args.test_manifest)}
        tested = [row for row in read_sheet(args.test_sheet) if row.slide in usable]
        folds = folds_tested_on(folds, external_slides(task, sheet, tested))
    for line in fold_warnings(task, folds):
        log.warning("task %s: %s", task.name, line)
    for number, fold in enumerate(folds):
        log.info("fold %d: %d train, %d val, %d test slides", number, len(fold.train), len(fold.val), len(fold.test))
    balance = fold_balance(*stratified_folds(task, folds))
    log.info("test slides of a fold: %s", balance_text(balance))
    absent = absent_slides(splits_of(task), [row.slide for row in sheet], used, [slide.slide for slide in labelled])
    write_absent(args.absent, absent)
    write_balance(args.balance, balance)
    write_folds(args.out, folds)

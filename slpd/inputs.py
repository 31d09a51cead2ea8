"""Everything an experiment reads, checked before any job starts: sheets, slides, labels, folds, weights."""

import logging
from collections.abc import Mapping
from pathlib import Path

from slpd.artifacts.published import misspelt_names, read_published
from slpd.artifacts.sheet import SheetRow, read_sheet
from slpd.artifacts.split_files import read_split_files
from slpd.errors import UserError
from slpd.evaluation.imported_folds import import_folds
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import ClassTask, ImportedFolds, SurvivalTask
from slpd.settings.experiment import Experiment

log = logging.getLogger(__name__)

Sheet = dict[str, SheetRow]  # slide id -> its line, in the order of the file


def check_inputs(experiment: Experiment) -> dict[str, Sheet]:
    """Read the sheet of every cohort and check all that jobs will open.

    Returns:
        Cohort name -> slide id -> line of the sheet.

    Raises:
        UserError: the first fault, with the key or the slide and what to write instead.
    """
    sheets = read_sheets(experiment)
    for cohort in experiment.cohorts:
        check_files(cohort.sheet, sheets[cohort.name])
    for task in experiment.tasks:
        check_labels(task, sheets[task.cohort])
    check_weights(experiment, sheets)
    check_published(experiment)
    return sheets


def read_sheets(experiment: Experiment) -> dict[str, Sheet]:
    """The sheet of every cohort; what it leads to is not looked at."""
    return {cohort.name: {row.slide: row for row in read_sheet(Path(cohort.sheet))} for cohort in experiment.cohorts}


def check_files(path: str, sheet: Sheet) -> None:
    """Refuse a sheet with a path that leads nowhere, that the workflow cannot pass on, or that two slides share."""
    owners: dict[Path, str] = {}
    for row in sheet.values():
        refuse_braces(f"{path}: slide {row.slide}", row.path)
        refuse_braces(f"{path}: slide {row.slide}", row.mask)
        if not Path(row.path).exists():
            raise UserError(f"{path}: slide {row.slide}: no file {row.path}; correct the path or remove the line")
        if row.mask and not Path(row.mask).is_file():
            raise UserError(f"{path}: slide {row.slide}: no mask {row.mask}; correct the mask column or leave it empty")
        owner = owners.setdefault(Path(row.path).resolve(), row.slide)
        if owner != row.slide:
            raise UserError(f"{path}: slides {owner} and {row.slide} are the same file, {row.path}; keep one line")


def refuse_braces(where: str, path: str) -> None:
    """Refuse a path that Snakemake would take for a pattern."""
    if "{" in path or "}" in path:
        raise UserError(f"{where}: {path} has braces in it; rename the file")


def check_labels(task: ClassTask | SurvivalTask, sheet: Sheet) -> None:
    """Refuse a task that the whole sheet cannot carry, and imported folds that do not fit it."""
    slides = labelled_slides(task, list(sheet.values()))
    check_task(task, slides)
    if isinstance(task.folds, ImportedFolds):
        splits = read_split_files(Path(task.folds.folder))
        import_folds(task.name, splits, slides, task.folds.allow_patient_overlap)


def check_published(experiment: Experiment) -> None:
    """Refuse files of published figures with faults; names that are nearly the config's are told, not refused."""
    names = {
        "task": [task.name for task in experiment.tasks],
        "variant": [variant.name for variant in experiment.variants],
        "head": [head.name for head in experiment.heads],
    }
    for path in {path: None for table in experiment.tables for path in table.published}:
        refuse_braces("tables", path)
        if misspelt := misspelt_names(read_published(Path(path)), names):
            log.warning("%s: the config has no %s; no table shows their figures", path, ", ".join(misspelt))


def check_weights(experiment: Experiment, sheets: Mapping[str, Sheet]) -> None:
    """Refuse weights that are not there; the jobs that load them check their hashes."""
    for key, checkpoint in weights_of(experiment, sheets).items():
        refuse_braces(key, checkpoint)
        if not Path(checkpoint).is_file():
            raise UserError(f"{key}: no file {checkpoint}; put the weights there or correct the path")


def weights_of(experiment: Experiment, sheets: Mapping[str, Sheet]) -> dict[str, str]:
    """Key -> weights file that it names; of the patch encoder only where slides are encoded: token files need none."""
    encoded = any(not row.holds_tokens for sheet in sheets.values() for row in sheet.values())
    given = {"patch_encoder.checkpoint": experiment.patch_encoder.checkpoint if encoded else None} | {
        f"variants.{variant.name}.pretrained.checkpoint": variant.pretrained.checkpoint
        for variant in experiment.variants
        if variant.pretrained
    }
    return {key: checkpoint for key, checkpoint in given.items() if checkpoint is not None}

"""Everything an experiment reads, checked before any job starts: sheets, slides, labels, folds, weights."""

import logging
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from slpd.artifacts.outside.published import misspelt_names, read_published
from slpd.artifacts.outside.split_files import read_split_files
from slpd.artifacts.outside.vector_files import SUFFIXES, vector_file
from slpd.artifacts.slides.dicom_header import series_of
from slpd.artifacts.slides.known_kinds import read_known_kinds
from slpd.artifacts.slides.sheet import SheetRow, mask_by_pattern, read_sheet
from slpd.artifacts.slides.slide_files import SINGLE, whole_slide_file
from slpd.artifacts.slides.spelling import SEPARATORS, barcode, groups, likely_date, likely_key, look_alike
from slpd.errors import UserError, first_of
from slpd.evaluation.external import external_slides
from slpd.evaluation.imported_folds import absent_text, import_folds
from slpd.evaluation.subgroup_values import groups_of
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import ImportedFolds, TaskSettings
from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.subgroups import SubgroupColumn

log = logging.getLogger(__name__)

NAMED = 3  # pairs named in a message
THREADS = 16  # files are on a network file system
PROGRESS_S = 5.0  # between lines on a check that takes long

Sheet = dict[str, SheetRow]  # slide id -> its line, in the order of the file


def check_inputs(experiment: Experiment) -> dict[str, Sheet]:
    """Read the sheet of every cohort and check all that jobs will open.

    Returns:
        Cohort name -> slide id -> line of the sheet.

    Raises:
        UserError: the first fault, with the key or the slide and what to write instead.
    """
    sheets = read_sheets(experiment)
    for cohort in experiment.cohorts_of_slides:
        check_files(cohort.sheet, sheets[cohort.name])
        if cohort.masks is not None:
            check_mask_pattern(cohort, sheets[cohort.name])
        warn_of_barcodes(cohort.sheet, sheets[cohort.name])
        if cohort.known_kinds:
            check_known_kinds(cohort.known_kinds, sheets[cohort.name])
    refuse_joined_twice(experiment, sheets)
    warn_of_spellings({cohort.sheet: sheets[cohort.name] for cohort in experiment.cohorts_of_slides})
    for task in experiment.tasks:
        check_labels(task, sheets[task.cohort])
        if task.test_cohort:
            external_slides(task, list(sheets[task.cohort].values()), list(sheets[task.test_cohort].values()))
    check_columns(experiment, sheets)
    check_weights(experiment, sheets)
    check_vectors(experiment, sheets)
    check_published(experiment)
    return sheets


def read_sheets(experiment: Experiment) -> dict[str, Sheet]:
    """The sheet of every cohort that has one; the files that it names are not checked."""
    return {cohort.name: sheet_of(cohort) for cohort in experiment.cohorts_of_slides}


def sheet_of(cohort: Cohort) -> Sheet:
    """The lines of a cohort's sheet; those without a mask have that of the cohort's pattern."""
    rows = read_sheet(Path(cohort.sheet))
    if cohort.masks is not None:
        rows = [row if row.mask else replace(row, mask=mask_by_pattern(cohort.masks, row)) for row in rows]
    return {row.slide: row for row in rows}


def check_mask_pattern(cohort: Cohort, sheet: Sheet) -> None:
    """Refuse a pattern of masks that leads two slides to one file, or that stands beside token files."""
    owners: dict[str, str] = {}
    for row in sheet.values():
        if row.holds_tokens:
            raise UserError(f"cohorts.{cohort.name}.masks: slide {row.slide} is a token file; remove masks")
        owner = owners.setdefault(row.mask, row.slide)
        if owner != row.slide:
            raise UserError(
                f"cohorts.{cohort.name}.masks: {row.mask} would be the mask of {owner} and of {row.slide};"
                " name the masks by slide id and use {slide}"
            )


def refuse_joined_twice(experiment: Experiment, sheets: Mapping[str, Sheet]) -> None:
    """Refuse a cohort of cohorts in which two slides have one id, or one file two ids."""
    for cohort in experiment.cohorts:
        owners: dict[str, str] = {}
        for name in cohort.of:
            for row in sheets[name].values():
                for mark in (row.slide.lower(), os.path.realpath(row.path)):
                    owner = owners.setdefault(mark, name)
                    if owner != name:
                        raise UserError(
                            f"cohorts.{cohort.name}.of: slide {row.slide} of {name} is also in {owner}; take it out"
                            " of a sheet, or give different slides different ids"
                        )


def check_files(path: str, sheet: Sheet) -> None:
    """Refuse a sheet with a path that holds no slide, that the workflow cannot pass on, or that two slides share."""
    for row in sheet.values():
        refuse_braces(f"{path}: slide {row.slide}", row.path)
        refuse_braces(f"{path}: slide {row.slide}", row.mask)
    with ThreadPoolExecutor(THREADS) as pool:
        entries = list(told(path, pool.map(partial(slide_entry, path), sheet.values()), len(sheet)))
    refuse_shared_files(path, list(sheet.values()), entries)


def told(path: str, entries: Iterable[Path], n_slides: int) -> Iterator[Path]:
    """The files of a sheet's slides; where a file system is slow, the log says how many were looked at."""
    last = time.monotonic()
    for number, entry in enumerate(entries, start=1):
        if time.monotonic() - last > PROGRESS_S:
            log.warning("%s: files looked at: %d of %d", path, number, n_slides)
            last = time.monotonic()
        yield entry


def slide_entry(path: str, row: SheetRow) -> Path:
    """The file that a line of a sheet leads to, which can be read; of a folder the first one of its DICOM series."""
    where = f"{path}: slide {row.slide}"
    remedy = "correct the path or remove the line"
    try:
        entry = whole_slide_file(Path(row.path))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except OSError as error:
        raise UserError(f"{where}: {row.path}: {error.strerror}; {remedy}") from error
    refuse_unreadable(f"{where}: no file {row.path}; {remedy}", where, entry)
    if row.mask:
        refuse_unreadable(
            f"{where}: no mask {row.mask}; correct the mask column or the cohort's masks", where, Path(row.mask)
        )
    return entry


def refuse_unreadable(absent: str, where: str, path: Path) -> None:
    """Refuse a file that is not there (with the message `absent`), is no file, or may not be read."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{absent}{dangling(path) or twin(path)}") from None
    except OSError as error:
        raise UserError(f"{where}: {path}: {error.strerror}; get access to it") from error
    if not is_file:
        raise UserError(f"{where}: {path} is no file; give the path of a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{where}: {path} may not be read; correct its permissions")


def dangling(path: Path) -> str:
    """The target of a broken link."""
    return f" (it is a link to {path.readlink()}, which is gone)" if path.is_symlink() else ""


def twin(path: Path) -> str:
    """The file beside an absent one that looks as if it had its name, as those that were copied from a Macintosh."""
    with suppress(OSError):  # the folder is no better
        return look_alike(path.name, [other.name for other in path.parent.iterdir()])
    return ""


def refuse_shared_files(path: str, rows: Sequence[SheetRow], entries: Sequence[Path]) -> None:
    """Refuse two slides that are one file, by whatever names, or files of one DICOM series."""
    n_in_folder = Counter(entry.parent for entry in entries)
    crowded = [n_in_folder[entry.parent] > 1 for entry in entries]
    with ThreadPoolExecutor(THREADS) as pool:
        owned = list(pool.map(marks_of, entries, crowded))
    owners: dict[object, SheetRow] = {}
    for row, marks in zip(rows, owned, strict=True):
        for mark, what in marks.items():
            owner = owners.setdefault(mark, row)
            if owner is not row:
                raise UserError(
                    f"{path}: slides {owner.slide} and {row.slide} are {what}, {owner.path} and {row.path};"
                    " keep one line"
                )


def marks_of(entry: Path, crowded: bool) -> dict[object, str]:
    """What no other slide may share, and the words for two that do.

    Args:
        entry: A slide's file.
        crowded: Whether other slides lie in its folder, as files of one DICOM series do.
    """
    status = entry.stat()
    series = series_of(entry) if crowded and entry.suffix.lower() not in SINGLE else None
    same_series: dict[object, str] = {(entry.parent, series): "files of one DICOM series"} if series else {}
    return {(status.st_dev, status.st_ino): "the same file"} | same_series


def refuse_braces(where: str, path: str) -> None:
    """Refuse a path that Snakemake would read as a pattern."""
    if "{" in path or "}" in path:
        raise UserError(f"{where}: {path} has braces in it; rename the file")


def warn_of_spellings(sheets: Mapping[str, Sheet]) -> None:
    """Warn of patients that are likely one, written in two ways, in one cohort or in two; and of dates instead of ids.

    Args:
        sheets: Path of a sheet -> its lines.
    """
    places = {row.patient: (path, row.slide) for path, sheet in sheets.items() for row in sheet.values()}
    names = {patient: f"{patient!r} ({path}, slide {slide})" for patient, (path, slide) in places.items()}
    pairs = [f"{names[first]} and {names[second]}" for first, second, *_ in groups(places, likely_key)]
    pairs += [f"{names[first]} and {names[second]}" for first, second in begun_by(sheets)]
    if pairs:
        log.warning(
            "patients that are likely one, written in two ways: %s; write every patient in one way, or folds part them",
            first_of(pairs, NAMED),
        )
    if dates := [names[patient] for patient in places if likely_date(patient)]:
        log.warning("patients that a spreadsheet may have turned into dates: %s", first_of(dates, NAMED))


def begun_by(sheets: Mapping[str, Sheet]) -> list[tuple[str, str]]:
    """Patients that begin the id of another one, where that is the id of its slide: (P1, P1-2) of slide P1-2."""
    known = {likely_key(row.patient): row.patient for sheet in sheets.values() for row in sheet.values()}
    pairs = []
    for row in (row for sheet in sheets.values() for row in sheet.values() if row.patient == row.slide):
        ends = [end.start() for end in re.finditer(SEPARATORS, row.patient)]
        shorter = (known.get(likely_key(row.patient[:end])) for end in ends if end)
        pairs += [(patient, row.patient) for patient in shorter if patient is not None]
    return pairs


def warn_of_barcodes(path: str, sheet: Sheet) -> None:
    """Name slides that are of one patient by their barcodes and of two by the sheet."""
    first: dict[str, SheetRow] = {}
    pairs = []
    for row in sheet.values():
        other = first.setdefault(barcode(row.slide), row)
        if barcode(row.slide) and other.patient != row.patient:
            pairs.append(f"{other.slide} ({other.patient}) and {row.slide} ({row.patient})")
    if pairs:
        log.warning(
            "%s: slides of one patient by their barcodes, of two by the sheet: %s", path, first_of(pairs, NAMED)
        )


def check_labels(task: TaskSettings, sheet: Sheet) -> None:
    """Refuse a task that the whole sheet does not allow, and imported folds that do not fit it."""
    slides = labelled_slides(task, list(sheet.values()))
    check_task(task, slides)
    if isinstance(task.folds, ImportedFolds):
        splits = read_split_files(Path(task.folds.folder))
        if lost := absent_text(task.name, splits, sheet):
            log.warning(lost)
        import_folds(task.name, splits, slides, task.folds.allow_patient_overlap)


def check_columns(experiment: Experiment, sheets: Mapping[str, Sheet]) -> None:
    """Refuse columns of subgroups and confounders that no cohort with a task has, and words where numbers are cut."""
    confounders = [SubgroupColumn(column=column) for column in experiment.robustness.confounders]
    cohorts = list(dict.fromkeys(cohort for task in experiment.tasks for cohort in task.cohorts))
    wanted = {"subgroups.columns": experiment.subgroups.columns, "robustness.confounders": confounders}
    for key, column in ((key, column) for key, columns in wanted.items() for column in columns):
        values = {cohort: groups_of(column, list(sheets[cohort].values())) for cohort in cohorts}
        without = [cohort for cohort, of_slides in values.items() if not any(of_slides.values())]
        if without == cohorts:
            raise UserError(
                f"{key}: no sheet of {', '.join(cohorts)} has values in a column {column.column!r}; correct the name,"
                " or fill the column"
            )
        if without:
            log.warning("%s: no column %r in the sheet of %s", key, column.column, ", ".join(without))


def check_published(experiment: Experiment) -> None:
    """Refuse faulty files of published figures; warn of names that nearly match the config's."""
    names = {
        "task": [task.name for task in experiment.tasks],
        "variant": [variant.name for variant in experiment.variants],
        "head": [head.name for head in experiment.heads],
    }
    for path in {path: None for table in experiment.tables for path in table.published}:
        refuse_braces("tables", path)
        if misspelt := misspelt_names(read_published(Path(path)), names):
            log.warning("%s: the config has no %s; no table shows their figures", path, ", ".join(misspelt))


def check_known_kinds(path: str, sheet: Sheet) -> None:
    """Refuse a faulty file of known kinds, or one that is of no slide of the cohort."""
    refuse_braces("known_kinds", path)
    if not read_known_kinds(Path(path)).keys() & sheet.keys():
        raise UserError(f"{path}: none of its slides is in the cohort's sheet; write the ids as they are there")


def check_weights(experiment: Experiment, sheets: Mapping[str, Sheet]) -> None:
    """Refuse missing weights; the jobs that load them check their hashes."""
    for key, checkpoint in weights_of(experiment, sheets).items():
        refuse_braces(key, checkpoint)
        refuse_unreadable(
            f"{key}: no file {checkpoint}; put the weights there or correct the path", key, Path(checkpoint)
        )


def check_vectors(experiment: Experiment, sheets: Mapping[str, Sheet]) -> None:
    """Refuse a variant of vectors made elsewhere that has none for a cohort; warn of slides that it does not have."""
    for cohort, sheet in sheets.items():
        for variant in experiment.read_on(cohort):
            if variant.vectors is None:
                continue
            folder = variant.vectors.of(cohort)
            refuse_braces(f"variants.{variant.name}", folder)
            files = {row.slide: vector_file(Path(folder), row.slide, row.path) for row in sheet.values()}
            refuse_shared_vectors(variant.name, files)
            missing = [slide for slide, file in files.items() if file is None]
            if len(missing) == len(sheet):
                raise UserError(
                    f"variants.{variant.name}: {folder} has no file <slide>{SUFFIXES[0]} or {SUFFIXES[-1]} of any"
                    f" slide of cohort {cohort}, {first_of(missing, NAMED)} say; correct folder, or the names in it"
                )
            if missing:
                log.warning(
                    "variants.%s: %s has no file of %d of %d slides of cohort %s, %s; its figures are of the others",
                    *(variant.name, folder, len(missing), len(sheet), cohort, first_of(missing, NAMED)),
                )


def refuse_shared_vectors(variant: str, files: Mapping[str, Path | None]) -> None:
    """Refuse a file of vectors that would be of two slides, whose files have one name in two folders."""
    owners: dict[Path, str] = {}
    for slide, file in files.items():
        if file is not None and owners.setdefault(file, slide) != slide:
            raise UserError(
                f"variants.{variant}: {file} would be of slides {owners[file]} and {slide}; name the files by slide id"
            )


def weights_of(experiment: Experiment, sheets: Mapping[str, Sheet]) -> dict[str, str]:
    """Key -> weights file that it names; of the patch encoder only where slides are encoded: token files need none."""
    encoded = any(not row.holds_tokens for sheet in sheets.values() for row in sheet.values())
    given = {"patch_encoder.checkpoint": experiment.patch_encoder.checkpoint if encoded else None} | {
        f"variants.{variant.name}.pretrained.checkpoint": variant.pretrained.checkpoint
        for variant in experiment.variants
        if variant.pretrained
    }
    return {key: checkpoint for key, checkpoint in given.items() if checkpoint is not None}

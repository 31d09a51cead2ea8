"""Turn HIPT's label table and split files, and a folder of slides, into a cohort sheet, folds and a config.

The sheet keeps the order of the label table, on which HIPT's results depend; slides of the folder that have no label
follow in order of id: they serve pretraining alone.
"""

import argparse
import csv
import logging
import re
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from slpd.artifacts.atomic import write_text
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.artifacts.outside.hipt_labels import HiptSlide, read_hipt_labels
from slpd.artifacts.outside.split_files import read_split_files, split_file
from slpd.artifacts.slides.sheet import COLUMNS, TOKEN_SUFFIXES, parse_sheet
from slpd.errors import UserError, first_of
from slpd.evaluation.imported_folds import absent_text, import_folds
from slpd.settings.section import Name

log = logging.getLogger(__name__)

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", *TOKEN_SUFFIXES)
BARCODE = r"(TCGA-\w\w-\w{4})-.*"  # its beginning is the patient's
QUARTER = "_subtype_25"  # end of the longest name made of the cohort's
NAMED = 5  # slides named in a message
LABELS = 12  # labels named in a message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--labels", type=Path, required=True, help="HIPT's tcga_<cohort>_subset.csv, or the .csv.zip")
    parser.add_argument("--splits", type=Path, required=True, help="HIPT's folder of splits_<k>.csv")
    parser.add_argument(
        "--slides", type=Path, required=True, help="folder of the slides (or token files), at any depth"
    )
    parser.add_argument("--cohort", required=True, help="name of the cohort, for example nsclc")
    parser.add_argument("--label", default="oncotree_code", help="label column (default: %(default)s)")
    parser.add_argument("--classes", nargs="+", required=True, help="classes of the task; other labels are left empty")
    parser.add_argument("--sheet", type=Path, required=True, help="sheet to write (CSV)")
    parser.add_argument("--folds", type=Path, required=True, help="folder of split files to write")
    parser.add_argument("--config", type=Path, required=True, help="cohort and tasks to write (YAML)")


def run(args: argparse.Namespace) -> None:
    """Read labels, splits and the folder; check all that will be written; write."""
    check_options(args.cohort, args.classes)
    table = read_hipt_labels(args.labels, args.label)
    check_classes(args.label, args.classes, table)
    files, splits = slide_files(args.slides), read_split_files(args.splits)
    labelled = [slide for slide in table if slide.label in args.classes]
    found, missing = split_by_file(labelled, files)
    if not found:
        raise UserError(
            f"--slides {args.slides}: none of the {len(labelled)} labelled slides is among its {len(files)} files, for"
            f" example {labelled[0].slide}; give the folder of the slides of --labels"
        )
    others = [unlabelled(slide, table) for slide in sorted(files.keys() - {slide.slide for slide in found})]
    sheet = sheet_text(args.label, [*found, *others], files)
    parse_sheet(args.sheet, sheet)  # refuses what the workflow would refuse
    refuse_other_folds(args.folds, len(splits))
    if lost := absent_text(args.cohort, splits, [slide.slide for slide in table], "the label table"):
        log.warning(lost)
    slides = [LabelledSlide(slide.slide, slide.patient, slide.label) for slide in found]
    import_folds(f"{args.cohort}_subtype", splits, slides, allow_patient_overlap=True)  # logs how they leak
    write_text(args.sheet, sheet)
    copy_splits(args.splits, args.folds, len(splits))
    write_text(args.config, config_text(args))
    report(args, found, others, missing)


def check_options(cohort: str, classes: Sequence[str]) -> None:
    """Refuse a name or classes that the config would refuse."""
    try:
        TypeAdapter(Name).validate_python(f"{cohort}{QUARTER}")
    except ValidationError as error:
        raise UserError(
            f"--cohort {cohort!r}: not a name for files; use letters, digits, '.', '_' and '-', begin with a letter or"
            f" digit, at most {120 - len(QUARTER)} characters"
        ) from error
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UserError(f"--classes {' '.join(classes)}: a task needs classes; give two or more, each once")


def check_classes(column: str, classes: Sequence[str], table: Sequence[HiptSlide]) -> None:
    """Refuse a class that no slide has, and log the labels outside all classes.

    Raises:
        UserError: naming the class, and the labels that there are.
    """
    n_slides = Counter(slide.label for slide in table if slide.label)
    absent = [name for name in classes if name not in n_slides]
    if absent:
        raise UserError(
            f"--classes {absent[0]}: no slide of the label table has it; labels in column {column}: {counted(n_slides)}"
        )
    others = Counter({label: n for label, n in n_slides.items() if label not in classes})
    if others:
        log.warning(
            "labels of %d slides are not among --classes and stay empty in the sheet: %s",
            others.total(),
            counted(others),
        )


def counted(n_slides: Counter[str]) -> str:
    """The most frequent labels with their slides."""
    return first_of([f"{label} ({n})" for label, n in n_slides.most_common()], LABELS)


def slide_files(folder: Path) -> dict[str, Path]:
    """Slide id -> its file, of all files below a folder.

    Raises:
        UserError: there is no such folder, or two files of one slide.
    """
    if not folder.is_dir():
        raise UserError(f"--slides {folder}: no such folder; give the folder of the slides")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SLIDE_SUFFIXES):
        slide = path.name[: -len(path.suffix)]
        if slide in files:
            raise UserError(f"slide {slide}: two files, {files[slide]} and {path}; remove one of them")
        files[slide] = path
    return files


def split_by_file(slides: Sequence[HiptSlide], files: dict[str, Path]) -> tuple[list[HiptSlide], list[HiptSlide]]:
    """The slides that have a file, and those that have none."""
    return [s for s in slides if s.slide in files], [s for s in slides if s.slide not in files]


def unlabelled(slide: str, table: Sequence[HiptSlide]) -> HiptSlide:
    """A slide that is not in the task: its patient is read from the table or from its barcode."""
    for known in table:
        if known.slide == slide:
            return HiptSlide(slide, known.patient, "", known.months, known.event)
    barcode = re.fullmatch(BARCODE, slide)
    if barcode is None:
        raise UserError(
            f"slide {slide}: not in the label table and no TCGA barcode, so its patient is unknown; remove it"
        )
    return HiptSlide(slide, barcode[1], "", "", "")


def sheet_text(label: str, slides: Sequence[HiptSlide], files: dict[str, Path]) -> str:
    """The sheet as CSV; months are left out where the event is unknown."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, label, "survival_months", "event"])
    for slide in slides:
        of_slide = [slide.slide, files[slide.slide], slide.patient, ""]
        writer.writerow([*of_slide, slide.label, slide.months if slide.event else "", slide.event])
    return text.getvalue()


def refuse_other_folds(target: Path, n_folds: int) -> None:
    """Refuse a folder that already has more folds than the new set; a table would mix both."""
    names = {split_file(number) for number in range(n_folds)}
    others = sorted({path.name for path in target.glob("splits_*.csv")} - names)
    if others:
        raise UserError(f"{target}: has {', '.join(others)} of other folds; remove them, or give another folder")


def copy_splits(source: Path, target: Path, n_folds: int) -> None:
    """Copy the split files; other files there (`_bool`, `_descriptor`) are not used."""
    for name in map(split_file, range(n_folds)):
        write_text(target / name, (source / name).read_text(encoding="utf-8-sig"))


def config_text(args: argparse.Namespace) -> str:
    """The cohort and its tasks as YAML, each entry complete."""
    content = {
        "cohorts": [{"name": args.cohort, "sheet": str(args.sheet)}],
        "tasks": [task_entry(args, "_subtype", {}), task_entry(args, QUARTER, {"train_fraction": 0.25})],
    }
    head = (
        f"# Written by import_hipt from {args.labels.name} and {args.splits.name}. HIPT's folds have patients in\n"
        "# both train and test, which allow_patient_overlap accepts. Copy the entries into your config: lists replace\n"
        "# lists whole.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False)


def task_entry(args: argparse.Namespace, ending: str, drawn: dict[str, float]) -> dict[str, object]:
    """A task; it shares no list with another, since YAML would write a reference."""
    return {
        "name": f"{args.cohort}{ending}",
        "cohort": args.cohort,
        "label": args.label,
        "classes": list(args.classes),
        "folds": {"kind": "imported", "folder": str(args.folds), "allow_patient_overlap": True, **drawn},
    }


def report(
    args: argparse.Namespace, found: Sequence[HiptSlide], others: Sequence[HiptSlide], missing: Sequence[HiptSlide]
) -> None:
    """Log what was read, and what is missing."""
    log.info(
        "%s: %d labelled slides of %d patients, %d slides without a label of the task",
        args.sheet,
        len(found),
        len({slide.patient for slide in found}),
        len(others),
    )
    if missing:
        names = first_of([slide.slide for slide in missing], NAMED)
        log.warning("%d labelled slides have no file below %s: %s", len(missing), args.slides, names)

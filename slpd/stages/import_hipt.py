"""Turn HIPT's label table and split files, and a folder of slides, into a cohort sheet, folds and a config.

The sheet keeps the order of the label table, on which HIPT's results depend; slides of the folder that have no label
follow in order of id: they serve pretraining alone.
"""

import argparse
import csv
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from slpd.artifacts.atomic import atomic_path, write_text
from slpd.artifacts.folds import LabelledSlide
from slpd.artifacts.hipt_labels import HiptSlide, read_hipt_labels
from slpd.artifacts.sheet import COLUMNS, TOKEN_SUFFIXES
from slpd.artifacts.split_files import read_split_files
from slpd.errors import UserError
from slpd.evaluation.imported_folds import import_folds

log = logging.getLogger(__name__)

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", *TOKEN_SUFFIXES)
BARCODE = r"(TCGA-\w\w-\w{4})-.*"  # its beginning is the patient's
NAMED = 5  # slides named in a message


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
    """Read labels, splits and the folder; write."""
    table = read_hipt_labels(args.labels, args.label)
    labelled = [slide for slide in table if slide.label in args.classes]
    files = slide_files(args.slides)
    found, missing = split_by_file(labelled, files)
    if not found:
        raise UserError(
            f"--slides {args.slides}: none of the {len(labelled)} labelled slides is among its {len(files)} files, for"
            f" example {labelled[0].slide if labelled else args.classes[0]}; give the folder of the slides of --labels"
        )
    others = [unlabelled(slide, table) for slide in sorted(files.keys() - {slide.slide for slide in found})]
    write_sheet(args.sheet, args.label, [*found, *others], files)
    copy_splits(args.splits, args.folds)
    write_text(args.config, config_text(args))
    report(args, found, others, missing)


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


def write_sheet(path: Path, label: str, slides: Sequence[HiptSlide], files: dict[str, Path]) -> None:
    """Write the sheet."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, label, "survival_months", "event"])
        for slide in slides:
            of_slide = [slide.slide, files[slide.slide], slide.patient, ""]
            writer.writerow([*of_slide, slide.label, slide.months if slide.event else "", slide.event])


def copy_splits(source: Path, target: Path) -> None:
    """Copy the split files; what else lies there (`_bool`, `_descriptor`) is of no use.

    Raises:
        UserError: the target holds folds that this set does not have; a table would mix both.
    """
    names = [f"splits_{number}.csv" for number in range(len(read_split_files(source)))]
    others = sorted({path.name for path in target.glob("splits_*.csv")} - set(names))
    if others:
        raise UserError(f"{target}: has {', '.join(others)} of other folds; remove them, or give another folder")
    for name in names:
        write_text(target / name, (source / name).read_text(encoding="utf-8-sig"))


def config_text(args: argparse.Namespace) -> str:
    """The cohort and its tasks as YAML."""
    folds = {"kind": "imported", "folder": str(args.folds), "allow_patient_overlap": True}
    task = {"cohort": args.cohort, "label": args.label, "classes": args.classes}
    content = {
        "cohorts": [{"name": args.cohort, "sheet": str(args.sheet)}],
        "tasks": [
            {"name": f"{args.cohort}_subtype", **task, "folds": folds},
            {"name": f"{args.cohort}_subtype_25", **task, "folds": {**folds, "train_fraction": 0.25}},
        ],
    }
    head = (
        f"# Written by import_hipt from {args.labels.name} and {args.splits.name}. HIPT's folds have patients in\n"
        "# both train and test, which allow_patient_overlap accepts. Copy the entries into your config: lists replace\n"
        "# lists whole.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False)


def report(
    args: argparse.Namespace, found: Sequence[HiptSlide], others: Sequence[HiptSlide], missing: Sequence[HiptSlide]
) -> None:
    """Log what was found, who is missing, and how HIPT's folds leak."""
    log.info(
        "%s: %d labelled slides of %d patients, %d slides without a label of the task",
        args.sheet,
        len(found),
        len({slide.patient for slide in found}),
        len(others),
    )
    if missing:
        names = ", ".join(slide.slide for slide in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        log.warning("%d labelled slides have no file below %s: %s%s", len(missing), args.slides, names, more)
    slides = [LabelledSlide(slide.slide, slide.patient, slide.label) for slide in found]
    import_folds(f"{args.cohort}_subtype", read_split_files(args.splits), slides, allow_patient_overlap=True)

"""Write a first sheet and config of a folder of slides (no rule); what is there already is never overwritten."""

import argparse
import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from itertools import count
from pathlib import Path
from unicodedata import combining, normalize

import yaml
from pydantic import TypeAdapter, ValidationError

from slpd.artifacts.atomic import write_text
from slpd.artifacts.slides.sheet import COLUMNS, SheetRow
from slpd.artifacts.slides.slide_files import slides_below
from slpd.artifacts.slides.spelling import barcode
from slpd.errors import SlideError, UserError, first_of
from slpd.settings.section import Name
from slpd.wsi import Slide
from slpd.wsi.resolution import GREATEST_MPP, LEAST_MPP

log = logging.getLogger(__name__)

SCHEMA = Path(__file__).parents[2] / "config/schema.json"
NAMED = 5  # slides named in a message
CONFIG = """\
# yaml-language-server: $schema={schema}
# What differs from config/config.yaml, which explains every key.

experiment: {name}  # results go to results/{folder}

cohorts:
  - name: {name}
    sheet: {sheet}  # fill its columns; add one for each label

# A first look: tissue, regions and patch tokens, without training.
variants: []
tasks: []
tables: []

# With labels in a column of the sheet, these in place of the three lines above:
# tasks:
#   - name: subtype
#     cohort: {name}
#     label: diagnosis
#     classes: [LUAD, LUSC]
#     folds: {{kind: generated, n_folds: 5, validation_fraction: 0.1, seed: 0}}
# tables:
#   - name: {name}
#     caption: First table
#     tasks: [subtype]
#     variants: [dino, slpd]
#     heads: [abmil, knn]
#     metrics: [auc]
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--slides", type=Path, required=True, help="folder of the slides, at any depth")
    parser.add_argument("--experiment", default="mine", help="its name, and the cohort's (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("config"), help="folder to write to (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Look at every slide of the folder; write the config and the sheet; say what to do next."""
    check_name(args.experiment)
    config, sheet = args.out / f"{args.experiment}.yaml", args.out / f"cohorts/{args.experiment}.csv"
    if re.search(r"\s", str(args.out)):
        raise UserError(f"--out {str(args.out)!r}: make does not take paths with blanks; give another folder")
    for path in (config, sheet):
        if path.exists():
            raise UserError(f"{path}: exists already; remove it, or give another --experiment or --out")
    if not args.slides.is_dir():
        raise UserError(f"--slides {args.slides}: no such folder; give the folder of the slides")
    rows = readable(args.slides)
    if not rows:
        raise UserError(f"--slides {args.slides}: no slide that can be used in this folder or below; give another")
    schema = os.path.relpath(SCHEMA, args.out)
    named = {"name": as_yaml(args.experiment), "sheet": as_yaml(str(sheet)), "folder": args.experiment}
    try:
        write_text(sheet, sheet_text(rows))
        write_text(config, CONFIG.format(schema=schema, **named))
    except OSError as error:
        raise UserError(f"--out {args.out}: {error.strerror} ({error.filename}); give a folder to write to") from error
    tell(rows, config, sheet)


def check_name(name: str) -> None:
    """Refuse a name that the config would refuse."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UserError(
            f"--experiment {name!r}: not a name for files; use letters, digits, '.', '_' and '-'"
        ) from error


def as_yaml(text: str) -> str:
    """A string as YAML takes it for one: a name such as `no` or `2024` in quotes."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True).strip()[1:-1]


def readable(folder: Path) -> list[SheetRow]:
    """A row for every slide that can be opened; the others are logged with the reason."""
    rows = []
    for slide, path in slide_ids(folder, slides_below(folder)).items():
        try:
            rows.append(SheetRow(slide, str(path), barcode(slide).upper(), stated(slide, path), {}))
        except SlideError as error:
            log.warning("left out: %s", error)
    return rows


def slide_ids(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Slide id -> its path: the file's name, or where several share it (but for case) its path, numbered if need be."""
    short = [safe_id(path.stem) for path in paths]
    times = Counter(slide.lower() for slide in short)
    whole = [safe_id(str(path.relative_to(folder).with_suffix(""))) for path in paths]
    ids: dict[str, Path] = {}
    for name, longer, path in zip(short, whole, paths, strict=True):
        slide = name if times[name.lower()] == 1 else numbered(longer, {taken.lower() for taken in ids})
        if slide not in (name, longer):
            log.warning("%s: slide %s, since other files have the id %s", path, slide, longer)
        ids[slide] = path
    return ids


def numbered(slide: str, taken: set[str]) -> str:
    """An id that is not taken, but for case: the same, or with the first number that is free."""
    free = (f"{slide}_{number}" for number in count(2))
    return slide if slide.lower() not in taken else next(name for name in free if name.lower() not in taken)


def safe_id(text: str) -> str:
    """An id that can be part of file names; letters lose their accents."""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip("._-")[:120] or "slide"


def stated(slide: str, path: Path) -> float | None:
    """µm per level-0 pixel that the file states; None: nothing, or what no scanner can have made.

    Raises:
        SlideError: it cannot be opened.
    """
    with Slide(slide, path, sheet_mpp=LEAST_MPP) as opened:  # any: the file's own is asked for
        mpp = opened.file_mpp
    return mpp if mpp and LEAST_MPP <= mpp <= GREATEST_MPP else None


def sheet_text(rows: Sequence[SheetRow]) -> str:
    """The sheet as CSV."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([row.slide, row.path, row.patient, f"{row.mpp:.6g}" if row.mpp else ""])
    return text.getvalue()


def tell(rows: Sequence[SheetRow], config: Path, sheet: Path) -> None:
    """Print what was written, what is to be filled in, and the next commands."""
    print(f"{sheet}: {len(rows)} slides\n{config}")
    for column, missing in {
        "patient": [row.slide for row in rows if not row.patient],
        "mpp": [row.slide for row in rows if row.mpp is None],
    }.items():
        if missing:
            print(f"Fill the {column} column of {len(missing)} slides: {first_of(missing, NAMED)}")
    print(f'Then: make run CONFIG="{config} -n" (what would run), make plan CONFIG={config}, make run CONFIG={config}')

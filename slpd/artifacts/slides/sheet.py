"""Cohort sheet (CSV): `slide, path, patient, mpp`, perhaps `mask`, and any number of label columns.

slide: unique id, safe as a file name. path: the slide file, relative to the folder the workflow runs in; or, for all
slides of the sheet, a file of patch tokens that were made elsewhere.
patient: id, so that folds never split a patient. mpp: µm per level-0 pixel, or empty to take it from the file.
mask: a tissue mask of the slide (PNG or GeoJSON) that takes the place of the segmenter's, or empty.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.people_table import parse_table, read_text
from slpd.artifacts.slides.slide_files import n_bytes_of
from slpd.artifacts.slides.spelling import groups, no_id, sure_key
from slpd.errors import UserError, first_of
from slpd.settings.section import MASK_SUFFIXES, SAFE_NAME, SHEET_COLUMNS

COLUMNS = SHEET_COLUMNS
TOKEN_SUFFIXES = (".h5", ".hdf5", ".pt")
MASK = "mask"  # a column that may be absent
NAMED = 3  # ids named in a message


@dataclass(frozen=True)
class SheetRow:
    """One slide of a cohort sheet."""

    slide: str
    path: str
    patient: str
    mpp: float | None  # µm per level-0 pixel
    labels: dict[str, str]  # column -> label; empty: not labelled
    mask: str = ""  # tissue mask; empty: the segmenter's

    @property
    def holds_tokens(self) -> bool:
        """Whether the path leads to patch tokens instead of a slide."""
        return is_token_file(self.path)

    @property
    def n_bytes(self) -> int:
        """The size of its files, by which a replaced one is told from one that was merely copied or touched."""
        return n_bytes_of(Path(self.path))


def mask_by_pattern(pattern: str, row: SheetRow) -> str:
    """The path of a slide's mask, from a cohort's pattern."""
    file = Path(row.path)
    names = {"{slide}": row.slide, "{stem}": file.stem, "{file}": file.name}
    for place, name in names.items():
        pattern = pattern.replace(place, name)
    return pattern


def starts_from_tokens(rows: Iterable[SheetRow]) -> bool:
    """Whether a sheet leads to token files instead of slides."""
    return any(row.holds_tokens for row in rows)


def labels_digest(rows: Iterable[SheetRow]) -> str:
    """A digest of what a sheet says of slides besides their files, whatever the order of its lines and columns."""
    lines = sorted((row.slide, row.patient, sorted(row.labels.items())) for row in rows)
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def is_token_file(path: str) -> bool:
    """Whether a path is that of a file of tokens, not of a slide."""
    return path.lower().endswith(TOKEN_SUFFIXES)


def read_sheet(path: Path) -> list[SheetRow]:
    """The rows of a sheet, checked; in the order of the file.

    Raises:
        UserError: a column is missing, an id repeats or is not a safe file name, a value is out of range.
    """
    return parse_sheet(path, read_text(path, "cohort sheet", COLUMNS))


def parse_sheet(path: Path, text: str) -> list[SheetRow]:
    """The rows of a sheet of which the text is known already; as `read_sheet`."""
    rows = [sheet_row(path, line, cells) for line, cells in parse_table(path, text, "cohort sheet", COLUMNS)]
    refuse_repeats(path, rows)
    refuse_no_ids(path, rows)
    refuse_two_spellings(path, rows)
    refuse_mixture(path, rows)
    return rows


def sheet_row(path: Path, line: int, cells: dict[str, str]) -> SheetRow:
    """One line of the sheet as a row."""
    slide = cells["slide"]
    if not slide:
        raise UserError(f"{path}, line {line}: no slide id; fill the slide column, or delete the line")
    if not re.fullmatch(SAFE_NAME, slide) or len(slide) > 120:
        raise UserError(
            f"{path}, line {line}: slide id {slide!r} is not a safe file name; use letters, digits, '.', '_' and '-',"
            " begin with a letter or digit, at most 120 characters"
        )
    for column in ("path", "patient"):
        if not cells[column]:
            raise UserError(f"{path}, line {line}: slide {slide} has no {column}; fill the {column} column")
    labels = {column: value for column, value in cells.items() if column not in (*COLUMNS, MASK)}
    mask = cells.get(MASK, "")
    if mask and not mask.lower().endswith(MASK_SUFFIXES):
        raise UserError(
            f"{path}: slide {slide} has mask {mask!r}; give a {', '.join(MASK_SUFFIXES)} file, or leave it empty"
        )
    return SheetRow(slide, cells["path"], cells["patient"], sheet_mpp(path, slide, cells["mpp"]), labels, mask)


def sheet_mpp(path: Path, slide: str, text: str) -> float | None:
    """The sheet's µm per pixel, or None for an empty cell."""
    if not text:
        return None
    try:
        mpp = float(text)
    except ValueError:
        mpp = float("nan")
    if not 0.1 <= mpp <= 10:
        raise UserError(
            f"{path}: slide {slide} has mpp {text!r}; write µm per level-0 pixel, 0.1 to 10, or leave it empty"
        )
    return mpp


def refuse_repeats(path: Path, rows: list[SheetRow]) -> None:
    """Refuse an empty sheet and a slide that is listed twice, also where only upper and lower case differ."""
    if not rows:
        raise UserError(f"{path}: no slides; write one line per slide under the header")
    seen: dict[str, str] = {}
    for row in rows:
        if row.slide.lower() in seen:
            raise UserError(f"{path}: slide {row.slide} is listed twice; keep one line per slide")
        seen[row.slide.lower()] = row.slide


def refuse_no_ids(path: Path, rows: list[SheetRow]) -> None:
    """Refuse placeholders and damaged numbers in place of ids: they would make one patient of many."""
    for column in ("slide", "patient"):
        faults = {row.slide: why for row in rows if (why := no_id(getattr(row, column)))}
        if faults:
            first = next(row for row in rows if row.slide in faults)
            raise UserError(
                f"{path}: {column} {getattr(first, column)!r} {faults[first.slide]} ({len(faults)} slides,"
                f" {first_of(list(faults), NAMED)}); write the id of every {column}, in a column of text"
            )


def refuse_two_spellings(path: Path, rows: list[SheetRow]) -> None:
    """Refuse a patient that is written in two ways: folds would part its slides."""
    same = groups((row.patient for row in rows), sure_key)
    if same:
        pairs = first_of([f"{first!a} and {second!a}" for first, second, *_ in same], NAMED)
        raise UserError(f"{path}: patients {pairs} are one, written in two ways; write every patient in one way")


def refuse_mixture(path: Path, rows: list[SheetRow]) -> None:
    """Refuse slides beside token files: what made those is not known to be the encoder of the config."""
    for row in rows:
        if row.holds_tokens != rows[0].holds_tokens:
            raise UserError(
                f"{path}: of {rows[0].slide} and {row.slide} one is a slide, the other a token file; keep slides and"
                " token files in sheets of their own"
            )

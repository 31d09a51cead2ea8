"""Label tables of HIPT (`tcga_<cohort>_subset.csv`, often zipped): slide_id (with .svs), case_id, labels.

censorship is 1 where a patient's death was not seen; survival_months is the time to death or to the last contact.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from slpd.artifacts.people_table import Line, parse_table, read_text
from slpd.errors import UserError

COLUMNS = ("slide_id", "case_id")
TIME, CENSORED = "survival_months", "censorship"
EVENTS = {"0.0": "1", "0": "1", "1.0": "0", "1": "0", "": ""}  # what they mean as an event
NEAR = 5  # columns named beside one that is not there


@dataclass(frozen=True)
class HiptSlide:
    """A line of the table."""

    slide: str  # without .svs
    patient: str
    label: str  # of the column asked for
    months: str  # survival; empty: unknown
    event: str  # 1 seen, 0 censored; empty: unknown


def read_hipt_labels(path: Path, label: str) -> list[HiptSlide]:
    """The slides of a label table, in its order.

    Args:
        path: CSV file, or a zip archive with one in it.
        label: Column with the label.

    Raises:
        UserError: the file is missing, no table or no archive with one table, lacks a column, has a slide twice, or
            another censorship than 0, 1 or none.
    """
    text = zipped_text(path) if path.suffix == ".zip" else read_text(path, "label table", (*COLUMNS, label))
    lines = parse_table(path, text, "label table", COLUMNS)
    for _, cells in lines[:1]:
        check_label(path, label, list(cells))
    refuse_second_lines(path, lines)
    return [hipt_slide(path, line, cells, label) for line, cells in lines]


def zipped_text(path: Path) -> str:
    """The one table in an archive; what its file is called there does not matter."""
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if "__MACOSX" not in name and not name.endswith("/")]
            if len(tables) != 1:
                raise UserError(f"label table {path}: {len(tables)} files in the archive; one table is expected")
            return archive.read(tables[0]).decode("utf-8-sig")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"label table {path}: cannot be read ({error}); get it again from HIPT's repository") from error


def check_label(path: Path, label: str, columns: Sequence[str]) -> None:
    """Refuse a label column that is not there; tables of mutations have hundreds, so the likeliest are named."""
    if label not in columns:
        names = {column.lower(): column for column in columns}
        near = [names[name] for name in get_close_matches(label.lower(), names, n=NEAR, cutoff=0)]
        raise UserError(
            f"label table {path}: no column {label!r}; nearest among its {len(columns)} columns: {', '.join(near)};"
            " give one of them"
        )


def refuse_second_lines(path: Path, lines: Sequence[Line]) -> None:
    """Refuse a slide that has more than one line."""
    lines_of: dict[str, list[str]] = {}
    for line, cells in lines:
        lines_of.setdefault(slide_id(cells), []).append(str(line))
    for slide, numbers in lines_of.items():
        if len(numbers) > 1:
            raise UserError(f"label table {path}: slide {slide} is in lines {', '.join(numbers)}; keep one line")


def slide_id(cells: dict[str, str]) -> str:
    """The slide of a line, without .svs."""
    return cells["slide_id"].removesuffix(".svs")


def hipt_slide(path: Path, line: int, cells: dict[str, str], label: str) -> HiptSlide:
    """One line of the table."""
    slide, censored = slide_id(cells), cells.get(CENSORED, "")
    if censored not in EVENTS:
        raise UserError(
            f"label table {path}, line {line}: slide {slide} has {CENSORED} {censored!r}; write 1 (not seen to die), 0,"
            " or leave the cell empty"
        )
    event = EVENTS[censored]
    return HiptSlide(slide, cells["case_id"], cells[label], cells.get(TIME, ""), event)

"""Label tables of HIPT (`tcga_<cohort>_subset.csv`, often zipped): slide_id (with .svs), case_id, labels.

censorship is 1 where a patient's death was not seen; survival_months is the time to death or to the last contact.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.people_table import parse_table, read_text
from slpd.errors import UserError

COLUMNS = ("slide_id", "case_id")
TIME, CENSORED = "survival_months", "censorship"
EVENTS = {"0.0": "1", "0": "1", "1.0": "0", "1": "0", "": ""}  # what they mean as an event


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
        UserError: the file is missing, no table or no archive with one table, lacks a column, or has another censorship
            than 0, 1 or none.
    """
    columns = (*COLUMNS, label)
    text = zipped_text(path) if path.suffix == ".zip" else read_text(path, "label table", columns)
    return [parse_row(path, line, cells, label) for line, cells in parse_table(path, text, "label table", columns)]


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


def parse_row(path: Path, line: int, cells: dict[str, str], label: str) -> HiptSlide:
    """One line of the table."""
    slide, censored = cells["slide_id"].removesuffix(".svs"), cells.get(CENSORED, "")
    if censored not in EVENTS:
        raise UserError(
            f"label table {path}, line {line}: slide {slide} has {CENSORED} {censored!r}; write 1 (not seen to die), 0,"
            " or leave the cell empty"
        )
    event = EVENTS[censored]
    return HiptSlide(slide, cells["case_id"], cells[label], cells.get(TIME, ""), event)

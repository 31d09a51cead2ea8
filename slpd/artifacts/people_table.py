"""CSV tables that people write (sheets, split files, tile manifests), read strictly: faults are named, not guessed.

The standard library reads them. pandas takes a short line for one with empty cells, renames a column that is there
twice, and cannot say in which line a quote went wrong.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from slpd.errors import UserError

Line = tuple[int, dict[str, str]]  # line number in the file, column -> cell without blanks around it


def read_table(path: Path, what: str, columns: Sequence[str]) -> list[Line]:
    """The lines of a table under its header.

    Args:
        path: The file.
        what: What it is, for messages.
        columns: Columns it must have; others may stand among them.

    Raises:
        UserError: the file cannot be read, is no UTF-8 text, lacks a column or has one twice; a quote is not closed;
            a line has more or fewer cells than the header, or a cell with a line break.
    """
    return parse_table(path, read_text(path, what, columns), what, columns)


def parse_table(path: Path, text: str, what: str, columns: Sequence[str]) -> list[Line]:
    """The lines of a table of which the text is known already; as `read_table`."""
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        check_header(path, what, columns, reader.fieldnames)
        return [(reader.line_num, checked_cells(path, reader.line_num, cells)) for cells in reader]
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own number stands still at a line that fails
        raise UserError(f"{path}, line {line}: {error}; close every quote that is opened") from error


def read_text(path: Path, what: str, columns: Sequence[str]) -> str:
    """The text of a file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{what} {path}: no such file; write it with the columns {', '.join(columns)}") from None
    except OSError as error:
        raise UserError(f"{what} {path}: {error.strerror}; give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path}: not a UTF-8 text ({error}); export it as CSV in UTF-8") from error


def check_header(path: Path, what: str, columns: Sequence[str], header: Sequence[str]) -> None:
    """Refuse a header with a column missing or twice."""
    for column in columns:
        if column not in header:
            raise UserError(
                f"{path}: no column {column!r}; a {what} has the columns {', '.join(columns)}, separated by commas;"
                f" found: {' | '.join(header)}"
            )
    for column in header:
        if header.count(column) > 1:
            raise UserError(f"{path}: column {column!r} is there twice; keep one")


def checked_cells(path: Path, line: int, cells: dict[str, str]) -> dict[str, str]:
    """The cells of a line, as many as the header has, none with a line break in it."""
    if None in cells or None in cells.values():
        raise UserError(f"{path}, line {line}: more or fewer cells than the header has; check commas and quotes")
    for column, cell in cells.items():
        if "\n" in cell or "\r" in cell:
            raise UserError(
                f"{path}, line {line}: a line break in column {column!r}, as an open quote makes one; remove it"
            )
    return {column: cell.strip() for column, cell in cells.items()}

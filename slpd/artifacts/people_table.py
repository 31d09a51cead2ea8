"""CSV tables that people write (sheets, split files, tile manifests). They are read strictly, and errors are named.

The standard library reads them. pandas fills short lines with empty cells, renames repeated columns, and cannot tell
in which line a quote is missing.
"""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from slpd.errors import UserError

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # nothing that people write, and a path must not have the first
Line = tuple[int, dict[str, str]]  # line number in the file; column -> cell, stripped


def read_table(path: Path, what: str, columns: Sequence[str]) -> list[Line]:
    """The lines of a table, without its header.

    Args:
        path: The file.
        what: What it is, for messages.
        columns: Columns it must have; it may have others.

    Raises:
        UserError: the file cannot be read or is not UTF-8; a column is missing or repeated; a quote is not closed;
            a line has more or fewer cells than the header, or a line break in a cell.
    """
    return parse_table(path, read_text(path, what, columns), what, columns)


def parse_table(path: Path, text: str, what: str, columns: Sequence[str]) -> list[Line]:
    """Like `read_table`, for text that has been read already."""
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        check_header(path, what, columns, reader.fieldnames)
        return [(reader.line_num, checked_cells(path, reader.line_num, cells)) for cells in reader]
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own line_num does not count a line that fails
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
    """Refuse a header in which a column is missing, repeated or, as a spreadsheet's empty ones, without a name."""
    if not header:
        raise UserError(f"{path}: it is empty; a {what} has the columns {', '.join(columns)}, separated by commas")
    for column in columns:
        if column not in header:
            raise UserError(
                f"{path}: no column {column!r}; a {what} has the columns {', '.join(columns)}, separated by commas;"
                f" found: {' | '.join(header)}"
            )
    if (n_empty := header.count("")) > 1:
        raise UserError(f"{path}: {n_empty} columns have no name; name them, or remove them if they are empty")
    for column in header:
        if header.count(column) > 1:
            raise UserError(f"{path}: column {column!r} is there twice; keep one")


def checked_cells(path: Path, line: int, cells: dict[str, str]) -> dict[str, str]:
    """The cells of a line, stripped. Refuses another number of cells than the header has, and control characters."""
    if None in cells or None in cells.values():
        raise UserError(f"{path}, line {line}: more or fewer cells than the header has; check commas and quotes")
    for column, cell in cells.items():
        if "\n" in cell or "\r" in cell:
            raise UserError(
                f"{path}, line {line}: a line break in column {column!r}, as an open quote makes one; remove it"
            )
        if CONTROL.search(cell):
            raise UserError(f"{path}, line {line}: a control character in column {column!r} ({cell!r}); remove it")
    return {column: cell.strip() for column, cell in cells.items()}

"""Tables of results as CSV: a line per row, and mostly a column per field of a dataclass.

pandas writes them; the standard library reads them, because pandas fills lines that are cut off. pydantic turns cells
into the types of the fields, so that an id `007` or `NA` stays what it is. pandas is imported where a table is written:
it costs 0.2 s, which the start of the workflow and the stages of single slides (`region_table.py`) do without.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from slpd.artifacts.atomic import atomic_path
from slpd.errors import UserError

Row = TypeVar("Row")
REMEDY = "delete the file and run snakemake again"


def write_rows(path: Path, kind: type[Any], rows: Sequence[Any], decimals: int | None = None) -> None:
    """Write rows of a dataclass; `decimals` as in `write_table`."""
    write_table(path, [column.name for column in fields(kind)], map(astuple, rows), decimals=decimals)


def write_table(
    path: Path,
    columns: Sequence[str],
    lines: Iterable[Sequence[Any]],
    line_end: str = "\r\n",
    decimals: int | None = None,
) -> None:
    """Write lines under a header.

    Args:
        path: The file to write.
        columns: Names of the columns.
        lines: Values in the order of the columns; a NaN becomes `nan`.
        line_end: What ends a line.
        decimals: Decimal places of all floats; None: full precision.
    """
    import pandas as pd  # noqa: PLC0415

    table = pd.DataFrame(list(lines), columns=list(columns))
    number = None if decimals is None else f"%.{decimals}f"
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, na_rep="nan", float_format=number, lineterminator=line_end)


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a table, in the order of the file.

    Raises:
        UserError: a column is missing, or a cell is not of its field's type.
    """
    return checked_rows(path, kind, read_cells(path))


def read_cells(path: Path) -> list[dict[str, str]]:
    """The lines of a table: column -> cell, as text; an emptied file has none.

    Raises:
        UserError: it is no UTF-8 text, a quote is not closed, or a line has more or fewer cells than the header.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            return [dict(zip(header, line, strict=True)) for line in reader]
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); {REMEDY}") from error


def checked_rows(path: Path, kind: type[Row], lines: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Lines as rows of a type. `path` is named in errors, which are those of `read_rows`."""
    try:
        return TypeAdapter(list[kind]).validate_python(lines)  # type: ignore[valid-type]
    except ValidationError as error:
        fault = error.errors()[0]
        line, column = fault["loc"][:2]
        value = f" (it is {fault['input']!r})" if isinstance(fault["input"], str) else ""
        where = f"{path}, line {int(line) + 2}, column {column}"
        raise UserError(f"{where}: {fault['msg'].lower()}{value}; {REMEDY}") from error

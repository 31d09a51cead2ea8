"""Known kinds of tissue of a cohort (CSV), where they are drawn or annotated: squares of slides, each of one kind.

Columns: slide; x_lv0, y_lv0 (upper left corner, level-0 pixels); side_lv0 (level-0 pixels); kind (any name). Squares
smaller than regions say how a region is mixed; places without a square are not known.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from slpd.artifacts.people_table import read_table
from slpd.artifacts.rows import write_table
from slpd.errors import UserError


class Square(NamedTuple):
    """A square of a slide."""

    x_lv0: int
    y_lv0: int
    side_lv0: int
    kind: str


COLUMNS = ("slide", *Square._fields)


def write_known_kinds(path: Path, squares: Mapping[str, Sequence[Square]]) -> None:
    """Write the squares of every slide."""
    write_table(path, COLUMNS, ((slide, *square) for slide, of_slide in squares.items() for square in of_slide), "\n")


def read_known_kinds(path: Path) -> dict[str, list[Square]]:
    """Slide -> its squares.

    Raises:
        UserError: the file cannot be read, lacks a column, or a cell is not a whole number or is empty.
    """
    squares = defaultdict(list)
    for line, cells in read_table(path, "table of known kinds", COLUMNS):
        try:
            x, y, side = (int(cells[column]) for column in COLUMNS[1:4])
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}; x_lv0, y_lv0 and side_lv0 are whole pixels") from error
        if side <= 0 or not cells["kind"]:
            raise UserError(
                f"{path}, line {line}: side_lv0 {side}, kind {cells['kind']!r}; give a side above 0 and a name"
            )
        squares[cells["slide"]].append(Square(x, y, side, cells["kind"]))
    return dict(squares)

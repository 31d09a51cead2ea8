"""Region table of a slide (`<slide>.csv`): every place of the grid with some tissue, row by row.

Columns: row, column (place in the grid); x_lv0, y_lv0 (upper left corner, level-0 pixels); tissue_share, pen_share,
padding_share (of the region's area, 0-1); excluded (empty: the region is kept; else the reason).
"""

import csv
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import TypeAdapter

from slpd.artifacts.atomic import atomic_path

Exclusion = Literal["", "little tissue", "pen", "padding"]  # empty: kept
EXCLUSIONS: tuple[Exclusion, ...] = get_args(Exclusion)[1:]


class Region(NamedTuple):
    """One region of a slide."""

    row: int
    column: int
    x_lv0: int
    y_lv0: int
    tissue_share: float
    pen_share: float = 0.0
    padding_share: float = 0.0
    excluded: Exclusion = ""


def write_regions(path: Path, regions: list[Region]) -> None:
    """Write a region table; shares keep four digits."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Region._fields)
        writer.writerows([round(cell, 4) if isinstance(cell, float) else cell for cell in region] for region in regions)


def read_grid(path: Path) -> list[Region]:
    """All regions of a table, kept and excluded."""
    with open(path, newline="", encoding="utf-8") as file:
        return TypeAdapter(list[Region]).validate_python(list(csv.DictReader(file)))


def read_regions(path: Path) -> list[Region]:
    """The regions of a table that are kept."""
    return [region for region in read_grid(path) if not region.excluded]

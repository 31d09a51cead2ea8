"""Region table of a slide (`<slide>.csv`): the regions kept, row by row of the grid.

Columns: row, column (place in the grid), x_lv0, y_lv0 (upper left corner, level-0 pixels), tissue_share (0-1).
"""

import csv
from pathlib import Path
from typing import NamedTuple

from slpd.artifacts.atomic import atomic_path


class Region(NamedTuple):
    """One region of a slide."""

    row: int
    column: int
    x_lv0: int
    y_lv0: int
    tissue_share: float


def write_regions(path: Path, regions: list[Region]) -> None:
    """Write a region table."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Region._fields)
        writer.writerows(region._replace(tissue_share=round(region.tissue_share, 4)) for region in regions)


def read_regions(path: Path) -> list[Region]:
    """Read a region table."""
    with open(path, newline="", encoding="utf-8") as file:
        return [parse_region(cells) for cells in csv.DictReader(file)]


def parse_region(cells: dict[str, str]) -> Region:
    """One line of the table."""
    return Region(
        int(cells["row"]),
        int(cells["column"]),
        int(cells["x_lv0"]),
        int(cells["y_lv0"]),
        float(cells["tissue_share"]),
    )

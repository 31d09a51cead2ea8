"""Pictures of a slide's regions (`pictures/<slide>.jpg`): all kept regions of its region table on one JPEG.

The order is that of the kept rows of `regions/<slide>.csv`, row by row, in ceil(sqrt(n)) columns, each `picture_px`
square; places behind the last region are white. A region is found by its corner (`x_lv0`, `y_lv0`) in the region table:
token files and bags may have fewer regions, since those that are blurred or cannot be decoded are left out there.
A slide that failed has a picture of its reason in place of a sheet.
"""

from math import ceil, sqrt
from typing import NamedTuple


class Place(NamedTuple):
    """The square of one region on a sheet, pixels."""

    left: int
    top: int
    side: int


def n_columns(n_regions: int) -> int:
    """Columns of the sheet of so many regions."""
    return ceil(sqrt(n_regions))


def n_rows(n_regions: int) -> int:
    """Rows of the sheet of so many regions."""
    return ceil(n_regions / n_columns(n_regions))


def place_of(index: int, n_regions: int, picture_px: int) -> Place:
    """Where the region stands that is number `index` among `n_regions` kept ones."""
    row, column = divmod(index, n_columns(n_regions))
    return Place(column * picture_px, row * picture_px, picture_px)

"""Which subgroup a slide or a test case is in. Light: the workflow checks sheets at every start."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from slpd.analysis.slide_properties import column_value
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError
from slpd.settings.subgroups import SubgroupColumn

UNKNOWN = ""


def groups_of(column: SubgroupColumn, rows: Sequence[SheetRow]) -> dict[str, str]:
    """Slide -> its group; empty: it has no value.

    Raises:
        UserError: a column with edges holds something other than numbers.
    """
    values = {row.slide: column_value(row, column.column) for row in rows}
    if not column.edges:
        return values
    return {slide: band_of(column, slide, value) for slide, value in values.items()}


def band_of(column: SubgroupColumn, slide: str, value: str) -> str:
    """The band of a number; empty for an empty cell."""
    if not value:
        return UNKNOWN
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"subgroups: column {column.column} of slide {slide} is {value!r}, which is no number to cut at"
            f" {', '.join(f'{edge:g}' for edge in column.edges)}; correct the cell, empty it, or remove edges"
        )
    return band_names(column.edges)[sum(number >= edge for edge in column.edges)]


def band_names(edges: Sequence[float]) -> list[str]:
    """Names of the bands, from low to high."""
    inner = [f"{low:g} to below {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and above"]


def in_order(column: SubgroupColumn, groups: Sequence[str]) -> list[str]:
    """The groups that occur: bands from low to high, others by name."""
    known = set(groups) - {UNKNOWN}
    return [name for name in band_names(column.edges) if name in known] if column.edges else sorted(known)


def group_of_case(slides: Sequence[str], groups: Mapping[str, str]) -> str:
    """The group of a test case; empty: its slides have no value, or differ in it."""
    of_slides = {groups[slide] for slide in slides}
    return of_slides.pop() if len(of_slides) == 1 else UNKNOWN

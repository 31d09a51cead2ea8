"""All slides in one plane (`slide_map.csv`), a line per slide used, in order of slide id.

Columns: slide; x, y (t-SNE of the slides' mean region vectors, no unit: distances within a neighbourhood have a
meaning, axes and distances between groups have none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class MappedSlide:
    """One slide."""

    slide: str
    x: float
    y: float


def write_slide_map(path: Path, points: Sequence[MappedSlide]) -> None:
    """Write the map; coordinates keep three digits."""
    write_rows(path, MappedSlide, points, decimals=3)


def read_slide_map(path: Path) -> list[MappedSlide]:
    """The map, in order of slide id."""
    return read_rows(path, MappedSlide)

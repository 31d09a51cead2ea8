"""The prototypes of all slides in one plane (`prototype_map.csv`), a line per prototype of a slide that has prototypes.

Columns: slide; prototype (0 to M - 1, numbered within its slide); n_regions (regions assigned to it); x, y (t-SNE, no
unit: distances within a neighbourhood have a meaning, axes and distances between groups have none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class MappedPrototype:
    """One prototype."""

    slide: str
    prototype: int
    n_regions: int
    x: float
    y: float


def write_prototype_map(path: Path, points: Sequence[MappedPrototype]) -> None:
    """Write the map; coordinates keep three digits."""
    write_rows(path, MappedPrototype, points, decimals=3)


def read_prototype_map(path: Path) -> list[MappedPrototype]:
    """The map, in order of slide id and prototype."""
    return read_rows(path, MappedPrototype)

"""The prototypes of all slides in one plane (`prototype_map.csv`), a line per prototype of a slide that has prototypes.

Columns: slide; prototype (0 to M - 1, numbered within its slide); n_regions (regions assigned to it); x, y (t-SNE, no
unit: distances within a neighbourhood have a meaning, axes and distances between groups have none).
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from slpd.artifacts.atomic import atomic_path


class MappedPrototype(NamedTuple):
    """One prototype."""

    slide: str
    prototype: int
    n_regions: int
    x: float
    y: float


def write_prototype_map(path: Path, points: Sequence[MappedPrototype]) -> None:
    """Write the map; coordinates keep three digits."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(MappedPrototype._fields)
        writer.writerows((*point[:3], f"{point.x:.3f}", f"{point.y:.3f}") for point in points)


def read_prototype_map(path: Path) -> list[MappedPrototype]:
    """The map, in order of slide id and prototype."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            MappedPrototype(
                row["slide"], int(row["prototype"]), int(row["n_regions"]), float(row["x"]), float(row["y"])
            )
            for row in csv.DictReader(file)
        ]

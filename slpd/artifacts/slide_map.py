"""All slides in one plane (`slide_map.csv`), a line per slide used, in order of slide id.

Columns: slide; x, y (t-SNE of the slides' mean region vectors, no unit: distances within a neighbourhood have a
meaning, axes and distances between groups have none).
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from slpd.artifacts.atomic import atomic_path


class MappedSlide(NamedTuple):
    """One slide."""

    slide: str
    x: float
    y: float


def write_slide_map(path: Path, points: Sequence[MappedSlide]) -> None:
    """Write the map; coordinates keep three digits."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(MappedSlide._fields)
        writer.writerows((point.slide, f"{point.x:.3f}", f"{point.y:.3f}") for point in points)


def read_slide_map(path: Path) -> list[MappedSlide]:
    """The map, in order of slide id."""
    with open(path, newline="", encoding="utf-8") as file:
        return [MappedSlide(row["slide"], float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]

"""Slides that a task's split files name and no fold has (`not_in_folds.csv`): one line each.

Columns: slide, reason. Only the header where folds are generated.
"""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from slpd.artifacts.atomic import atomic_path

COLUMNS = ("slide", "reason")


@dataclass(frozen=True)
class AbsentSlide:
    """A slide that is named and cannot be used."""

    slide: str
    reason: str  # of few: captions count them


def write_absent(path: Path, slides: Sequence[AbsentSlide]) -> None:
    """Write the slides."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(astuple, slides))


def read_absent(path: Path) -> list[AbsentSlide]:
    """The slides, in the order of the file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [AbsentSlide(cells["slide"], cells["reason"]) for cells in csv.DictReader(file)]

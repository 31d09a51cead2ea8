"""Slides that are named and cannot be used: one line each.

`not_in_folds.csv`: slides that a task's split files name and no fold has; only the header where folds are generated.
`not_in_bags.csv`: slides of a cohort of which a variant of vectors made elsewhere has none.
Columns: slide, reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class AbsentSlide:
    """A slide that is named and cannot be used."""

    slide: str
    reason: str  # of few: captions count them


def write_absent(path: Path, slides: Sequence[AbsentSlide]) -> None:
    """Write the slides."""
    write_rows(path, AbsentSlide, slides)


def read_absent(path: Path) -> list[AbsentSlide]:
    """The slides, in the order of the file."""
    return read_rows(path, AbsentSlide)

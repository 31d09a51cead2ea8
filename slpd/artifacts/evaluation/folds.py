"""Folds of a task (`folds.csv`): one line per fold and slide that takes part in it.

Columns: fold (0, 1, ...), split (train, val or test), slide, patient, label (class name, the time of a survival
task, or a number), event (1 seen, 0 censored; empty for others), site (value of the column that folds preserve; empty
where they preserve none). The order within a split is kept: samplers and subsets depend on it.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from slpd.artifacts.rows import read_rows, write_table

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class LabelledSlide:
    """A slide of a task."""

    slide: str
    patient: str
    label: str  # class name; of a survival task the time, as in the sheet
    event: str = ""  # of a survival task: 1 seen, 0 censored
    site: str = ""  # value of the column that folds preserve; empty: they preserve none

    @property
    def stratum(self) -> str:
        """What folds spread evenly: the class, or whether the event was seen."""
        return self.event or self.label


@dataclass(frozen=True)
class FoldLine:
    """A line of the file."""

    fold: NonNegativeInt
    split: Literal["train", "val", "test"]
    slide: str
    patient: str
    label: str
    event: str
    site: str


@dataclass(frozen=True)
class Fold:
    """The slides of one fold, by split."""

    train: list[LabelledSlide] = field(default_factory=list)
    val: list[LabelledSlide] = field(default_factory=list)
    test: list[LabelledSlide] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, list[LabelledSlide]]:
        """Name of a split -> its slides."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def slides(self) -> list[LabelledSlide]:
        """The slides of all splits, one split after the other."""
        return [*self.train, *self.val, *self.test]


def write_folds(path: Path, folds: Sequence[Fold]) -> None:
    """Write the folds of a task."""
    lines = [
        (number, split, *astuple(slide))
        for number, fold in enumerate(folds)
        for split, slides in fold.splits.items()
        for slide in slides
    ]
    write_table(path, [column.name for column in fields(FoldLine)], lines)


def read_folds(path: Path) -> list[Fold]:
    """The folds of a task, in order.

    Raises:
        UserError: a line is damaged.
    """
    lines = read_rows(path, FoldLine)
    folds = [Fold() for _ in range(1 + max((line.fold for line in lines), default=-1))]
    for line in lines:
        slide = LabelledSlide(line.slide, line.patient, line.label, line.event, line.site)
        folds[line.fold].splits[line.split].append(slide)
    return folds

"""Folds of a task (`folds.csv`): one line per fold and slide that takes part in it.

Columns: fold (0, 1, ...), split (train, val or test), slide, patient, label (class name, or the time of a survival
task), event (1 seen, 0 censored; empty for classes). The order within a split is kept: samplers and subsets depend
on it.
"""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from slpd.artifacts.atomic import atomic_path

COLUMNS = ("fold", "split", "slide", "patient", "label", "event")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class LabelledSlide:
    """A slide of a task."""

    slide: str
    patient: str
    label: str  # class name; of a survival task the time, as in the sheet
    event: str = ""  # of a survival task: 1 seen, 0 censored

    @property
    def stratum(self) -> str:
        """What folds spread evenly: the class, or whether the event was seen."""
        return self.event or self.label


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
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, fold in enumerate(folds):
            for split, slides in fold.splits.items():
                writer.writerows((number, split, *astuple(slide)) for slide in slides)


def read_folds(path: Path) -> list[Fold]:
    """The folds of a task, in order."""
    folds: list[Fold] = []
    with open(path, newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            if int(cells["fold"]) == len(folds):
                folds.append(Fold())
            slide = LabelledSlide(cells["slide"], cells["patient"], cells["label"], cells["event"])
            folds[int(cells["fold"])].splits[cells["split"]].append(slide)
    return folds

"""Metrics of an evaluation (`metrics.csv`): one line per fold.

Columns: the fields of FoldMetrics. Numbers have full precision; `nan`: not defined in this fold.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slpd.artifacts.atomic import atomic_path


@dataclass(frozen=True)
class FoldMetrics:
    """How well a head does on the test slides of one fold; all metrics lie in [0, 1], more is better."""

    task: str
    variant: str
    head: str
    fold: int
    auc: float  # one-vs-rest macro mean for more than two classes; nan: a class has no test slide
    accuracy: float
    balanced_accuracy: float
    f1: float  # macro mean


def write_fold_metrics(path: Path, folds: Sequence[FoldMetrics]) -> None:
    """Write the metrics of every fold."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(FoldMetrics)])
        writer.writeheader()
        writer.writerows(asdict(fold) for fold in folds)


def read_fold_metrics(path: Path) -> list[FoldMetrics]:
    """The metrics of every fold, in the order of the file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [parse_row(cells) for cells in csv.DictReader(file)]


def parse_row(cells: dict[str, str]) -> FoldMetrics:
    """One line of the file."""
    return FoldMetrics(
        task=cells["task"],
        variant=cells["variant"],
        head=cells["head"],
        fold=int(cells["fold"]),
        auc=float(cells["auc"]),
        accuracy=float(cells["accuracy"]),
        balanced_accuracy=float(cells["balanced_accuracy"]),
        f1=float(cells["f1"]),
    )

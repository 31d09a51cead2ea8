"""Metrics of an evaluation (`metrics.csv`): one line per fold.

Columns: the fields of FoldMetrics. Numbers have full precision; `nan`: not defined in this fold, or not of this kind
of task.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slpd.artifacts.atomic import atomic_path


@dataclass(frozen=True)
class FoldMetrics:
    """How well a head does on the test cases of one fold; definitions in evaluation/metrics.py."""

    task: str
    variant: str
    head: str
    fold: int
    auc: float = math.nan  # 0 to 1
    accuracy: float = math.nan  # 0 to 1
    balanced_accuracy: float = math.nan  # 0 to 1
    f1: float = math.nan  # 0 to 1
    kappa: float = math.nan  # at most 1; 0 is chance
    ece: float = math.nan  # 0 to 1, less is better
    c_index: float = math.nan  # 0 to 1


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
    task, variant, head, fold = (cells.pop(name) for name in ("task", "variant", "head", "fold"))
    return FoldMetrics(task, variant, head, int(fold), **{name: float(value) for name, value in cells.items()})

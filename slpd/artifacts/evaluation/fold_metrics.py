"""Metrics of an evaluation (`metrics.csv`): one line per fold.

Columns: the fields of FoldMetrics. Numbers have full precision; `nan`: not defined in this fold, or not of this kind
of task.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class FoldMetrics:
    """How well a head does on the test cases of one fold; definitions in evaluation/metrics.py."""

    task: str
    variant: str
    head: str
    fold: int
    auc: float = math.nan  # 0 to 1
    auprc: float = math.nan  # 0 to 1
    accuracy: float = math.nan  # 0 to 1
    balanced_accuracy: float = math.nan  # 0 to 1
    sensitivity: float = math.nan  # 0 to 1
    specificity: float = math.nan  # 0 to 1
    f1: float = math.nan  # 0 to 1
    mcc: float = math.nan  # -1 to 1; 0 is chance
    kappa: float = math.nan  # at most 1; 0 is chance
    ece: float = math.nan  # 0 to 1, less is better
    c_index: float = math.nan  # 0 to 1
    uno_c_index: float = math.nan  # 0 to 1
    td_auc: float = math.nan  # 0 to 1
    ibs: float = math.nan  # 0 or more, less is better
    r2: float = math.nan  # at most 1
    mae: float = math.nan  # 0 or more, less is better, in the unit of the task's values
    pearson: float = math.nan  # -1 to 1
    spearman: float = math.nan  # -1 to 1
    thresholds: str = ""  # by which sensitivity and specificity are counted, of class 1 or of every class


def write_fold_metrics(path: Path, folds: Sequence[FoldMetrics]) -> None:
    """Write the metrics of every fold."""
    write_rows(path, FoldMetrics, folds)


def read_fold_metrics(path: Path) -> list[FoldMetrics]:
    """The metrics of every fold, in the order of the file."""
    return read_rows(path, FoldMetrics)

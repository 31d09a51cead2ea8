"""Metrics over folds (`intervals.csv`): one line per metric of the task.

Columns: the fields of MetricInterval. `nan`: not defined in enough folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class MetricInterval:
    """A metric of an evaluation over the folds in which it is defined."""

    task: str
    variant: str
    head: str
    metric: str
    mean: float
    std: float  # ddof 1
    low: float  # of the bootstrap interval over patients
    high: float
    level: float  # confidence level of the interval
    n_folds: int  # folds in which the metric is defined
    why: str = ""  # the data did not allow the evaluation; empty: they did


def write_intervals(path: Path, rows: Sequence[MetricInterval]) -> None:
    """Write all metrics of an evaluation."""
    write_rows(path, MetricInterval, rows)


def read_intervals(path: Path) -> list[MetricInterval]:
    """All metrics of an evaluation, in the order of the file."""
    return read_rows(path, MetricInterval)

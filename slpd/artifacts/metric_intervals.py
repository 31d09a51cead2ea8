"""Metrics over folds (`intervals.csv`): one line per metric of the task.

Columns: the fields of MetricInterval. `nan`: not defined in enough folds.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slpd.artifacts.atomic import atomic_path


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
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(MetricInterval)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_intervals(path: Path) -> list[MetricInterval]:
    """All metrics of an evaluation, in the order of the file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [parse_row(cells) for cells in csv.DictReader(file)]


def parse_row(cells: dict[str, str]) -> MetricInterval:
    """One line of the file."""
    task, variant, head, metric = (cells[name] for name in ("task", "variant", "head", "metric"))
    numbers = {name: float(cells[name]) for name in ("mean", "std", "low", "high", "level")}
    return MetricInterval(task, variant, head, metric, **numbers, n_folds=int(cells["n_folds"]), why=cells["why"])

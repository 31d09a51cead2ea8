"""Published figures (CSV files of people, `config/published/*.csv`), to stand beside ours in a table.

Columns: task, variant, head (names as in the config), metric, value, std (over folds), source (where it can be
checked). An empty value marks a place that its reader is to fill. The rest of the columns is for people.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.people_table import read_table
from slpd.errors import UserError
from slpd.settings.tables import METRICS

COLUMNS = ("task", "variant", "head", "metric", "value", "std", "source")


@dataclass(frozen=True)
class PublishedFigure:
    """A published figure, or the place of one."""

    task: str
    variant: str
    head: str
    metric: str
    value: float | None  # None: the place is marked, the figure is not filled in
    std: float | None
    source: str
    file: str  # that it was read from


def read_published(path: Path) -> list[PublishedFigure]:
    """The figures of a file.

    Raises:
        UserError: a column is missing, a value is no finite number, a deviation negative, a metric unknown, or a figure
            has no source.
    """
    return [parse_row(path, line, cells) for line, cells in read_table(path, "file of published figures", COLUMNS)]


def parse_row(path: Path, line: int, cells: dict[str, str]) -> PublishedFigure:
    """One line of the file."""
    value, std = (number(path, line, column, cells[column]) for column in ("value", "std"))
    if std is not None and std < 0:
        raise UserError(f"{path}, line {line}: std {cells['std']!r} is negative; write it as published")
    if value is not None and not cells["source"]:
        raise UserError(f"{path}, line {line}: {cells['value']} has no source; say where it is published")
    task, variant, head, metric = (cells[column] for column in COLUMNS[:4])
    if metric not in METRICS:
        raise UserError(f"{path}, line {line}: metric {metric!r} is none of {', '.join(METRICS)}")
    return PublishedFigure(task, variant, head, metric, value, std, cells["source"], str(path))


def number(path: Path, line: int, column: str, text: str) -> float | None:
    """A finite number, or None for an empty cell."""
    try:
        found = float(text) if text else None
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise UserError(f"{path}, line {line}: {column} {text!r} is no number; write one, or leave it empty")
    return found

"""Published figures (CSV files of people, `config/published/*.csv`), to stand beside ours in a table.

Columns: task, variant, head (names as in the config), metric, value, std (over folds), source (where it can be
checked). An empty value marks a place that its reader is to fill. The rest of the columns is for people.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from slpd.artifacts.people_table import read_table
from slpd.errors import UserError
from slpd.settings.tables import METRICS, range_of

COLUMNS = ("task", "variant", "head", "metric", "value", "std", "source")

SLIP = 0.8  # names at least this alike (difflib) differ by a slip of the keys


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
    line: int  # of the file


def read_published(path: Path) -> list[PublishedFigure]:
    """The figures of a file.

    Raises:
        UserError: a column is missing, a metric is unknown, a value is no number in the metric's range, a deviation
            is negative or wider than the range or stands without a value, or a figure has no source.
    """
    return [
        published_figure(path, line, cells) for line, cells in read_table(path, "file of published figures", COLUMNS)
    ]


def published_figure(path: Path, line: int, cells: dict[str, str]) -> PublishedFigure:
    """One line of the file."""
    where = f"{path}, line {line}"
    task, variant, head, metric = (cells[column] for column in COLUMNS[:4])
    if metric not in METRICS:
        raise UserError(f"{where}: metric {metric!r} is none of {', '.join(METRICS)}")
    low, high = range_of(metric)
    value = number(where, "value", cells["value"], low, high, f"is outside {metric}'s range, {low} to {high}")
    width = high - low
    std = number(where, "std", cells["std"], 0, width, f"is negative or above {width}, the width of {metric}'s range")
    if std is not None and value is None:
        raise UserError(f"{where}: std {cells['std']!r} has no value beside it; write both, or leave both empty")
    if value is not None and not cells["source"]:
        raise UserError(f"{where}: {cells['value']} has no source; say where it is published")
    return PublishedFigure(task, variant, head, metric, value, std, cells["source"], str(path), line)


def number(where: str, column: str, text: str, low: float, high: float, fault: str) -> float | None:
    """A number from `low` to `high`, or None for an empty cell; `fault` says what is wrong with others."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {column} {text!r} is no number; write one, or leave it empty")
    if not low <= value <= high:
        raise UserError(f"{where}: {column} {text!r} {fault}; write shares of 1, 87.9 % as 0.879")
    return value


def misspelt_names(figures: Iterable[PublishedFigure], names: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of figures that are nearly one of a config's, as text with lines and the spelling that was meant.

    A file may hold more than an experiment runs: other names are no slip, nor are longer ones (`brca_subtype_10`).

    Args:
        figures: Of one file.
        names: Column -> names of the config: of `task`, `variant` and `head`.
    """
    lines: dict[tuple[str, str], list[int]] = {}
    for figure in figures:
        for column in names:
            lines.setdefault((column, getattr(figure, column)), []).append(figure.line)
    return [
        f"{column} {name!r} (line {at[0]}{f' and {len(at) - 1} more' if len(at) > 1 else ''}; did you mean {meant!r}?)"
        for (column, name), at in lines.items()
        if (meant := likely_spelling(name, names[column]))
    ]


def likely_spelling(name: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant; None if it is known, or unlike all."""
    if name in known or any(name.startswith(f"{other}_") for other in known):
        return None
    return next(iter(get_close_matches(name, known, n=1, cutoff=SLIP)), None)

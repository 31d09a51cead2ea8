"""A table as CSV, numbers in full precision: its cells, and its paired differences."""

import csv
import io
import math
from collections.abc import Iterable

from slpd.tables.cells import Published
from slpd.tables.content import Row, TableContent

NAMES = ("head", "variant", "task", "metric")
FIGURE = ("mean", "std", "low", "high", "level", "best", "why")
BASIS = ("n_folds", "n_folds_all", "n_seeds", "n_slides_used", "n_slides_given")
PUBLISHED = ("published", "published_std", "published_source", "published_why")
DIFFERENCES = (
    "task",
    "metric",
    "head",
    "first",
    "second",
    "difference",
    "low",
    "high",
    "level",
    "p_value",
    "n_folds",
    "why",
)


def as_csv(content: TableContent) -> str:
    """One line per head, variant, task and metric.

    mean, std (ddof 1): over folds, of several n_seeds over the seeds' means; `nan` where there is none. low, high:
    interval of the mean; level: its confidence level. best: 1 where the figure stands in bold. why: why there is no
    mean. n_folds: folds in which the metric is defined, of n_folds_all. n_slides_used: of the n_slides_given of the
    cohort, those that were not left out. published, published_std, published_source: what others published, empty
    where they did not. published_why: why there is none.
    """
    lines = [
        (row.head, row.variant, task, metric, *ours(content, row, column), *theirs(content, row, column))
        for row in content.rows
        for column, (task, metric) in enumerate(content.columns)
    ]
    return as_text((*NAMES, *FIGURE, *BASIS, *PUBLISHED), lines)


def ours(content: TableContent, row: Row, column: int) -> tuple[object, ...]:
    """What a line holds of our figure, and on how many folds and slides it rests."""
    cell, best = row.cells[column], int(content.is_best(row, column))
    (task,) = (facts for facts in content.tasks if facts.task == content.columns[column][0])
    basis = (cell.n_defined, task.n_folds, cell.n_seeds, task.n_used, task.n_given)
    return (cell.mean, cell.std, cell.low, cell.high, content.level, best, cell.why, *basis)


def theirs(content: TableContent, row: Row, column: int) -> tuple[object, ...]:
    """What a line holds of the published figure."""
    published = row.published[column] or Published()
    if published.why:
        return ("", "", "", published.why)
    std = "" if math.isnan(published.std) else published.std
    return (published.value, std, content.sources[published.source - 1], "")


def differences_as_csv(content: TableContent) -> str:
    """One line per pair of variants, head, task and metric: first - second, over paired folds.

    low, high (interval), level (its confidence level), p_value: of the corrected resampled t-test; in tasks with a test
    cohort of the paired bootstrap over its patients; of variants under several seeds with what these contribute. They
    are empty where there is none, and why says the reason.
    """
    return as_text(
        DIFFERENCES,
        (
            (c.task, c.metric, c.head, c.first, c.second, mean, low, high, content.level, p, d.n_folds, d.why)
            for c in content.comparisons
            for d in [c.difference]
            for mean, low, high, p in [["" if math.isnan(x) else x for x in (d.mean, d.low, d.high, d.p_value)]]
        ),
    )


def as_text(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """Lines under a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()

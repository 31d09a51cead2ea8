"""A table as CSV, numbers in full precision: its cells, and its paired differences."""

import csv
import io
from collections.abc import Iterable

from slpd.tables.content import TableContent

CELLS = ("head", "variant", "task", "metric", "mean", "std", "low", "high", "n_folds", "best", "why")
PUBLISHED = ("published", "published_std", "published_source")
DIFFERENCES = ("task", "metric", "head", "first", "second", "difference", "low", "high", "p_value", "n_folds")


def as_csv(content: TableContent) -> str:
    """One line per head, variant, task and metric.

    low, high: interval of the mean. n_folds: folds in which the metric is defined. best: 1 where it stands in bold.
    why: why there is no figure.
    """
    lines = []
    for row in content.rows:
        for column, (task, metric) in enumerate(content.columns):
            cell, published = row.cells[column], row.published[column]
            best = int(content.is_best(row, column))
            ours = (cell.mean, cell.std, cell.low, cell.high, cell.n_defined, best, cell.why)
            theirs: tuple[object, ...] = ("", "", "")
            if published and not published.why:
                theirs = (published.value, published.std, content.sources[published.source - 1])
            lines.append((row.head, row.variant, task, metric, *ours, *theirs))
    return as_text((*CELLS, *PUBLISHED), lines)


def differences_as_csv(content: TableContent) -> str:
    """One line per pair of variants, head, task and metric: first - second, over paired folds.

    low, high, p_value: of the corrected resampled t-test.
    """
    return as_text(
        DIFFERENCES,
        (
            (c.task, c.metric, c.head, c.first, c.second, d.mean, d.low, d.high, d.p_value, d.n_folds)
            for c in content.comparisons
            for d in [c.difference]
        ),
    )


def as_text(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """Lines under a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()

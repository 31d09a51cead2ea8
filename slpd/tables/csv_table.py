"""A table as CSV: one line per variant, head, task and metric, numbers in full precision."""

import csv
import io

from slpd.tables.content import TableContent


def as_csv(content: TableContent) -> str:
    """Columns: variant, head, task, metric, mean, std, n_folds (folds in which the metric is defined)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("variant", "head", "task", "metric", "mean", "std", "n_folds"))
    for row in content.rows:
        for (task, metric), cell in zip(content.columns, row.cells, strict=True):
            writer.writerow((row.variant, row.head, task, metric, cell.mean, cell.std, cell.n_defined))
    return text.getvalue()

"""Reliability of an evaluation (`calibration.csv`): one line per class and tenth of its probability that holds cases.

Columns: task, variant, head, class, low, high (the tenth, its upper end open), n_cases, mean_probability,
observed_share (of the cases that belong to the class). Over the test cases of all folds; no lines in survival tasks.
"""

from collections.abc import Sequence
from pathlib import Path

from slpd.artifacts.rows import write_table

COLUMNS = ("task", "variant", "head", "class", "low", "high", "n_cases", "mean_probability", "observed_share")


def write_calibration(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write lines of values in the order of COLUMNS."""
    write_table(path, COLUMNS, rows)

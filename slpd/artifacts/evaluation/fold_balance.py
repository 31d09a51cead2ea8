"""How evenly the folds of a task test its classes (`balance.csv`): one line per fold and class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class FoldBalance:
    """The test slides of a class in a fold."""

    fold: int
    stratum: str  # class; of a survival task 1 (event seen) or 0 (censored)
    n_slides: int
    n_patients: int
    n_slides_even: float  # if every fold tested as many: the mean over folds
    sites: str  # where folds preserve sites, those of these slides with their number: 05 (12); 3C (4)


def write_balance(path: Path, rows: Sequence[FoldBalance]) -> None:
    """Write the balance of a task's folds."""
    write_rows(path, FoldBalance, rows)


def read_balance(path: Path) -> list[FoldBalance]:
    """The balance of a task's folds, in the order of the file."""
    return read_rows(path, FoldBalance)

"""Split files of HIPT and CLAM (`splits_<k>.csv`): columns train, val and test hold the slides of fold k.

The columns are padded with empty cells to one length; an index column may stand before them; ids may end
in `.svs`.
"""

import re
from pathlib import Path

from slpd.artifacts.folds import SPLITS
from slpd.artifacts.people_table import read_table
from slpd.errors import UserError

SplitIds = dict[str, list[str]]  # split -> slide ids, in the order of the file


def read_split_files(folder: Path) -> list[SplitIds]:
    """The slide ids of every fold, fold 0 first.

    Raises:
        UserError: the folder holds no split files, leaves out a fold, or a file lacks a column.
    """
    matches = [re.fullmatch(r"splits_(\d+)\.csv", path.name) for path in folder.glob("splits_*.csv")]
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise UserError(f"folds folder {folder}: no files splits_<k>.csv in it; correct the task's folds.folder")
    missing = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    if missing:
        raise UserError(f"folds folder {folder}: no splits_{missing[0]}.csv; folds are numbered from 0 without gaps")
    return [read_split_file(folder / f"splits_{number}.csv") for number in numbers]


def read_split_file(path: Path) -> SplitIds:
    """The slide ids of one fold."""
    rows = [cells for _, cells in read_table(path, "split file", SPLITS)]
    return {split: [row[split] for row in rows if row[split]] for split in SPLITS}

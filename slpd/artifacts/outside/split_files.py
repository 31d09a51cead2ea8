"""Split files of HIPT and CLAM (`splits_<k>.csv`): columns train, val and test hold the slides of fold k.

The columns are padded with empty cells to one length; an index column may stand before them; ids may end
in `.svs`.
"""

import re
from pathlib import Path

from slpd.artifacts.evaluation.folds import SPLITS
from slpd.artifacts.people_table import read_table
from slpd.errors import UserError, first_of

SplitIds = dict[str, list[str]]  # split -> slide ids, in the order of the file
NAMED = 3  # files named in a message


def split_file(number: int) -> str:
    """The name of a fold's file."""
    return f"splits_{number}.csv"


def split_files(folder: Path) -> list[Path]:
    """Every file of a folder that may be a fold's, sorted by name; what is wrong with them, reading says."""
    return sorted(folder.glob("splits_*.csv"))


def read_split_files(folder: Path) -> list[SplitIds]:
    """The slide ids of every fold, fold 0 first.

    Raises:
        UserError: the folder holds no split files, they are not numbered 0, 1, ..., or a file lacks a column.
    """
    present = {path.name for path in split_files(folder) if re.fullmatch(r"splits_[0-9]+\.csv", path.name)}
    if not present:
        raise UserError(f"folds folder {folder}: no files splits_<k>.csv in it; give the folder of the split files")
    expected = [split_file(number) for number in range(len(present))]
    missing = [name for name in expected if name not in present]
    if missing:
        others = sorted(present - set(expected))
        raise UserError(
            f"folds folder {folder}: no {missing[0]}, but {first_of(others, NAMED)}; number the files"
            " splits_0.csv, splits_1.csv, ... without gaps and leading zeros"
        )
    return [read_split_file(folder / name) for name in expected]


def read_split_file(path: Path) -> SplitIds:
    """The slide ids of one fold."""
    rows = [cells for _, cells in read_table(path, "split file", SPLITS)]
    return {split: [row[split] for row in rows if row[split]] for split in SPLITS}

"""The vectors of many bags as rows of one array; of patch tokens only those that are asked for are held."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.bags import Bag, StoredBag


class StoredFeatures:
    """Bags in files, one after the other; some rows are read at a time."""

    def __init__(self, bags: Sequence[Bag]) -> None:
        self.bags = bags
        self.starts = np.cumsum([0, *map(len, bags)])
        self.shape = (int(self.starts[-1]), bags[0].shape[1])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, D) of rows, bag after bag in the order in which they come."""
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        breaks = np.flatnonzero(np.diff(owners)) + 1
        pieces = zip(owners[[0, *breaks]].tolist(), np.split(rows, breaks), strict=True)
        return np.concatenate([self.bags[owner][piece - self.starts[owner]] for owner, piece in pieces])


Features = NDArray[np.float32] | StoredFeatures  # (R, D): by row numbers both give arrays


def joined(bags: Sequence[Bag]) -> Features:
    """All rows of some bags, in memory where the bags are."""
    if any(isinstance(bag, StoredBag) for bag in bags):
        return StoredFeatures(bags)
    return np.concatenate([np.asarray(bag) for bag in bags])

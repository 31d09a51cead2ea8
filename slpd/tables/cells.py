"""What a cell of a table says: a figure over folds or a published one, or why there is none."""

import math
from dataclasses import dataclass
from typing import NamedTuple

NO_FIGURE = "none known"


@dataclass(frozen=True)
class Cell:
    """A metric over the folds in which it is defined, or why there is none.

    Of several seeds of pretraining, mean and deviation are of the seeds' means over folds.
    """

    mean: float = math.nan
    std: float = math.nan  # ddof 1; NaN: defined in fewer than two folds
    low: float = math.nan  # of the interval of the mean
    high: float = math.nan
    n_defined: int = 0
    n_folds: int = 0
    why: str = ""  # there is no figure; empty: there is
    points: tuple[float, ...] = ()  # every fold, NaN where it is not defined; of several seeds their means over folds
    n_seeds: int = 1

    @property
    def text(self) -> str:
        """The cell with three decimals; says over how many folds, unless over all."""
        if self.why:
            return self.why
        spread = ", one fold" if math.isnan(self.std) else f" ± {self.std:.3f}"
        interval = "" if math.isnan(self.low) else f" ({self.low:.3f}–{self.high:.3f})"
        folds = "" if self.n_defined == self.n_folds else f" ({self.n_defined} of {self.n_folds} folds)"
        return f"{self.mean:.3f}{spread}{interval}{folds}"


@dataclass(frozen=True)
class Published:
    """What is published for a cell."""

    value: float = math.nan
    std: float = math.nan
    source: int = 0  # number of its source in the table's list; 0: no figure
    why: str = NO_FIGURE  # there is no figure; empty: there is

    @property
    def text(self) -> str:
        """The figure as published, with the number of its source."""
        spread = "" if math.isnan(self.std) else f" ± {self.std:.3f}"
        return self.why or f"{self.value:.3f}{spread} ({self.source})"


class PrintedCell(NamedTuple):
    """What a format prints."""

    text: str
    is_best: bool
    is_reason: bool  # it says why there is no figure

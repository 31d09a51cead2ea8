"""Robustness of a variant's vectors to confounders (`robustness.csv`): one line per confounder and kind of vectors.

`nan`: there is no figure. slpd/analysis/vector_robustness.py has the definitions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slpd.artifacts.rows import read_rows, write_rows

VectorKind = Literal["slides", "regions"]


@dataclass(frozen=True)
class RobustnessLine:
    """How far vectors follow the class of their slides rather than a confounder."""

    confounder: str  # column of the sheet
    vectors: VectorKind  # means of region vectors, or drawn region vectors
    n_vectors: int
    n_slides: int  # with enough slides of their class elsewhere, and of other classes at their site
    n_slides_given: int  # with a class, a value of the confounder and vectors
    n_sites: int  # values of the confounder among the slides
    index: float = math.nan  # robustness index, 0 to 1
    index_by_chance: float = math.nan
    k: int = 0  # neighbours of the index
    support: float = math.nan  # share of vectors that the index is of, 0 to 1
    margin: float = math.nan  # CRoMa, median, -1 to 1
    margin_by_chance: float = math.nan
    low: float = math.nan  # of its interval
    high: float = math.nan
    tail: float = math.nan  # mean of the lowest tenth of margins
    site_nearer: float = math.nan  # share of vectors with a margin of 0 or less
    why: str = ""  # why there are no figures; empty: there are


def write_robustness(path: Path, rows: Sequence[RobustnessLine]) -> None:
    """Write the robustness of a variant's vectors."""
    write_rows(path, RobustnessLine, rows)


def read_robustness(path: Path) -> list[RobustnessLine]:
    """The robustness of a variant's vectors, in the order of the file."""
    return read_rows(path, RobustnessLine)

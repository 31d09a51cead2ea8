"""What neighbours in the slide graph share beyond chance (`graph_test.csv`), a line per property of slides.

Columns: the fields of GraphTest. `nan`: there is no pair to judge by, or none could agree by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows


@dataclass(frozen=True)
class GraphTest:
    """How often slides and their neighbours agree in one property, against chance."""

    column: str  # patient, site, scanner, or a column of the sheet
    n_slides: int  # with a neighbour, both with a value
    n_values: int  # different values among them
    n_pairs: int  # slide and neighbour; outside `patient` never of the same patient
    observed: float  # share of the pairs that agree, 0-1
    expected: float  # the same after permutation of values between patients (of `patient`: between slides), mean
    ratio: float  # observed / expected; 1: chance
    p_value: float  # share of permutations that agree as often or more often, the observed one counted in
    p_adjusted: float  # for several columns, Holm
    n_permutations: int


def write_graph_test(path: Path, rows: Sequence[GraphTest]) -> None:
    """Write the tests of a slide graph."""
    write_rows(path, GraphTest, rows)


def read_graph_test(path: Path) -> list[GraphTest]:
    """The tests of a slide graph, in the order of the file."""
    return read_rows(path, GraphTest)

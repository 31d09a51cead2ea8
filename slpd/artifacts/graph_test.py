"""What neighbours in the slide graph share beyond chance (`graph_test.csv`), a line per property of slides.

Columns: the fields of GraphTest. `nan`: there is no pair to judge by, or none could agree by chance.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slpd.artifacts.atomic import atomic_path

COUNTS = ("n_slides", "n_values", "n_pairs", "n_permutations")
SHARES = ("observed", "expected", "ratio", "p_value", "p_adjusted")


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
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(GraphTest)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_graph_test(path: Path) -> list[GraphTest]:
    """The tests of a slide graph, in the order of the file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [parse_row(cells) for cells in csv.DictReader(file)]


def parse_row(cells: dict[str, str]) -> GraphTest:
    """One line of the file."""
    n_slides, n_values, n_pairs, n_permutations = (int(cells[name]) for name in COUNTS)
    observed, expected, ratio, p_value, p_adjusted = (float(cells[name]) for name in SHARES)
    return GraphTest(
        cells["column"], n_slides, n_values, n_pairs, observed, expected, ratio, p_value, p_adjusted, n_permutations
    )

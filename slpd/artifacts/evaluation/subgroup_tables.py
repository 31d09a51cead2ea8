"""Metrics for parts of the test cases of every evaluation of a task (`subgroups.csv`), and gaps (`subgroup_gaps.csv`).

One line per evaluation, column, group and metric, or per evaluation, column and metric. `nan`: there is no figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.rows import read_rows, write_rows
from slpd.settings.tables import Metric


@dataclass(frozen=True)
class SubgroupFigure:
    """A metric of a group."""

    variant: str
    head: str
    column: str
    group: str  # empty: cases whose slides have no value, or differ in it
    n_cases: int  # test cases of all folds; one that several folds test counts as often
    n_patients: int
    metric: Metric
    value: float  # mean over folds, weighted by the cases that the group has in them
    low: float  # of the bootstrap interval over the group's patients
    high: float
    level: float  # confidence level of the interval
    why: str  # why there is no figure; empty: there is one


@dataclass(frozen=True)
class SubgroupGap:
    """The largest gap of a metric between groups with figures."""

    variant: str
    head: str
    column: str
    metric: Metric
    n_groups: int  # in which the metric is defined
    lowest: str  # group
    highest: str
    gap: float  # highest - lowest
    p_value: float  # share of permutations with a gap as large or larger, the observed one counted in; `nan`: no fold
    # tests patients of two groups in the same class
    n_permutations: int


def write_figures(path: Path, rows: Sequence[SubgroupFigure]) -> None:
    """Write the metrics of all groups."""
    write_rows(path, SubgroupFigure, rows)


def read_figures(path: Path) -> list[SubgroupFigure]:
    """The metrics of all groups, in the order of the file."""
    return read_rows(path, SubgroupFigure)


def write_gaps(path: Path, rows: Sequence[SubgroupGap]) -> None:
    """Write the gaps of all evaluations."""
    write_rows(path, SubgroupGap, rows)


def read_gaps(path: Path) -> list[SubgroupGap]:
    """The gaps of all evaluations, in the order of the file."""
    return read_rows(path, SubgroupGap)

"""What the report shows, in sentences made of its figures: of a table, of prototypes, of the slide graph."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from slpd.report.words import NONE, decimal
from slpd.settings.tables import Metric
from slpd.tables.comparisons import Comparison
from slpd.tables.content import TITLES, TableContent


def compared(content: TableContent, first: str, second: str) -> list[str]:
    """How a variant compares with another in the first column of each task of a table, under every head."""
    columns: dict[str, Metric] = {}
    for task, metric in content.columns:
        columns.setdefault(task, metric)
    heads = dict.fromkeys(row.head for row in content.rows)
    return [
        sentence_of(comparison, first, content.level)
        for (task, metric), head in product(columns.items(), heads)
        for comparison in content.comparisons
        if (comparison.task, comparison.metric, comparison.head) == (task, metric, head)
        and {comparison.first, comparison.second} == {first, second}
    ]


def sentence_of(comparison: Comparison, first: str, level: float) -> str:
    """A comparison in words, `first` named first."""
    turned = comparison.first != first
    other = comparison.first if turned else comparison.second
    found, sign = comparison.difference, -1 if turned else 1
    low, high = sorted((sign * found.low, sign * found.high))
    where = f"{TITLES[comparison.metric]} of {comparison.task} under {comparison.head}"
    mean = signed(sign * found.mean)
    if found.why:
        return f"{first} against {other}, {where}: {mean}, not tested: {found.why}."
    verdict = (
        f"{comparison.better(level)} is better beyond noise" if comparison.better(level) else "not distinguishable"
    )
    return (
        f"{first} against {other}, {where}: {mean} ({100 * level:g} % interval {signed(low)} to"
        f" {signed(high)}), {verdict}."
    )


def signed(number: float) -> str:
    """A difference with its sign, to three places; a zero is +0.000, and without a figure there is a dash."""
    return NONE if math.isnan(number) else f"{round(number, 3) + 0.0:+.3f}"


def settled(variant: str, moved: NDArray[np.float64]) -> str:
    """How prototypes moved; (T,) mean share of a slide's regions between successive groupings."""
    if not len(moved):
        return f"Prototypes of {variant} were not renewed."
    return (
        f"Prototypes of {variant}: {100 * moved[0]:.1f} % of a slide's regions moved to another one between the"
        f" first two groupings, {100 * moved[-1]:.1f} % between the last two (mean over slides)."
    )


def agreeing(agreement: NDArray[np.float64]) -> str:
    """How prototypes agree with known kinds; (T,) means over slides of the first to the last grouping."""
    return (
        f"Their adjusted mutual information with the known kinds is {decimal(float(agreement[0]), 2)} at first"
        f" and {decimal(float(agreement[-1]), 2)} with the trained encoder (0 is chance, 1 equal)."
    )

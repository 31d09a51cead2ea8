"""Kaplan-Meier curves of risk groups, with the numbers at risk below."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from slpd.evaluation.survival import LifeTable
from slpd.plots.style import add_legend, curve_style, short

WIDEST = 3  # panels beside each other
MOST_TICKS = 5  # of the axis of time, under which numbers at risk stand
WIDTH = 30  # characters of a line in a panel
TALL, FLAT = 2.8, 0.55  # inches: of curves, of the numbers at risk of two groups


@dataclass(frozen=True)
class GroupCurves:
    """What a panel shows."""

    pooled: Mapping[str, LifeTable]  # group -> test cases of all folds
    folds: Sequence[Mapping[str, LifeTable]]  # the same of each fold; groups without cases are absent
    test: str  # the test of the pooled groups, in words


def draw_survival(panels: Mapping[str, GroupCurves], groups: Sequence[str], time: str) -> Figure:
    """One panel per variant: pooled curves of the groups, pale ones of each fold, censored cases as ticks.

    Args:
        panels: Variant -> its curves.
        groups: Names of the groups, in the order of their colours.
        time: What the axis of time says.
    """
    n_columns = min(len(panels), WIDEST)
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(max(3.3 * n_columns, 3.6), n_rows * (TALL + FLAT)))
    panes = figure.subplots(2 * n_rows, n_columns, squeeze=False, height_ratios=[TALL, FLAT] * n_rows)
    for axes in panes.flat:
        axes.set_visible(False)
    last = max(float(table.times[-1]) for curves in panels.values() for table in curves.pooled.values())
    for number, (title, curves) in enumerate(panels.items()):
        row, column = divmod(number, n_columns)
        above, below = panes[2 * row, column], panes[2 * row + 1, column]
        draw_curves(above, curves, groups, last)
        above.set(title=short(title), xlabel=short(time), ylabel="share without event" if column == 0 else "")
        draw_at_risk(below, above, curves.pooled, groups, named=column == 0)
    add_legend(figure, [f"{group} risk" for group in groups], [curve_style(n) for n in range(len(groups))], 2)
    return figure


def draw_curves(axes: Axes, curves: GroupCurves, groups: Sequence[str], last: float) -> None:
    """The curves of a panel, whose axis of time ends at `last`."""
    axes.set_visible(True)
    for number, group in enumerate(groups):
        style = curve_style(number)
        for fold in curves.folds:
            if group in fold:
                axes.plot(*steps(fold[group]), drawstyle="steps-post", **(style | {"linewidth": 0.6, "alpha": 0.35}))
        if group in curves.pooled:
            table = curves.pooled[group]
            axes.plot(*steps(table), drawstyle="steps-post", **(style | {"linewidth": 1.8}))
            ticks = table.censored > 0
            axes.plot(
                table.times[ticks], table.survival[ticks], linestyle="", marker="|", markersize=5, color=style["color"]
            )
    axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS, integer=last > MOST_TICKS))
    axes.set(xlim=(0, 1.02 * last), ylim=(-0.02, 1.05))
    axes.text(0.98, 0.98, fill(curves.test, WIDTH), transform=axes.transAxes, fontsize=8, ha="right", va="top")


def steps(table: LifeTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and survival of a curve that begins at 1."""
    return np.concatenate([[0], table.times]), np.concatenate([[1], table.survival])


def draw_at_risk(axes: Axes, above: Axes, tables: Mapping[str, LifeTable], groups: Sequence[str], named: bool) -> None:
    """How many cases of each group are followed to each tick of the panel above, or beyond it."""
    axes.set_visible(True)
    axes.set(xlim=above.get_xlim(), ylim=(len(groups) - 0.4, -0.6))
    axes.set_frame_on(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(groups)), groups if named else [""] * len(groups))
    axes.tick_params(length=0, pad=14)  # beside the numbers at time 0
    axes.grid(visible=False)
    axes.set_title("at risk" if named else "", fontsize=8, fontweight="normal", pad=2)
    for row, group in enumerate(groups):
        for tick in above.get_xticks():
            if group in tables and above.get_xlim()[0] <= tick <= above.get_xlim()[1]:
                axes.text(tick, row, str(tables[group].followed_to(tick)), ha="center", va="center", fontsize=8)

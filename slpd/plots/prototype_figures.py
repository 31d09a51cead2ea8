"""Figures of prototypes for a paper: how they settled, and the map of them all."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from slpd.plots.style import COLOURS, FAINT, MARKERS, short

MAX_TICKS = 12


def draw_stability(steps: Sequence[str], moved: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The share of regions that moved between successive iterations: mean and spread over slides.

    Args:
        steps: The iteration that each of the T values leads to.
        moved: `mean`, and `low` and `high`, between which the middle 90 % of slides are, (T,) each.
    """
    figure = Figure(figsize=(5.2, 2.6))
    axes = figure.subplots()
    x = np.arange(len(steps))
    if len(moved["mean"]):
        axes.fill_between(x, 100 * moved["low"], 100 * moved["high"], color=COLOURS[0], alpha=0.2, lw=0)
        axes.plot(x, 100 * moved["mean"], color=COLOURS[0], marker="o", markersize=3)
    ticks = x[:: max(1, -(-len(steps) // MAX_TICKS))]
    axes.set_xticks(ticks, [steps[tick] for tick in ticks])
    axes.set(xlabel="iteration, against the one before", ylabel="regions that moved (%)")
    axes.set_ylim(0, max(5, axes.get_ylim()[1]))
    return figure


class Group(NamedTuple):
    """Points of a map that share a value, or that share none."""

    name: str
    members: NDArray[np.int64]  # their numbers
    is_value: bool  # the name is a value of the data; otherwise: the rest, or not given


def legend_label(name: str) -> str:
    """A name for a legend: what begins with `_` matplotlib would leave out."""
    return f"\u200a{short(name)}" if name.startswith("_") else short(name)


def draw_map(x: NDArray[np.float64], y: NDArray[np.float64], groups: Sequence[Group]) -> Figure:
    """Points in a plane by group, each with a colour and a marker of its own; those without a value of theirs grey.

    Args:
        x: (n,) of the t-SNE.
        y: (n,)
        groups: At most as many as there are colours.
    """
    figure = Figure(figsize=(5.2, 4.2))
    axes = figure.subplots()
    size = float(np.clip(6000 / max(len(x), 1), 4, 28))
    for number, (name, members, is_value) in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)] if is_value else FAINT
        style: Any = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "s": size, "alpha": 0.8, "lw": 0}
        axes.scatter(
            x[members], y[members], label=legend_label(name), rasterized=len(x) > 5000, **style
        )  # vectors of many are slow
    axes.set(xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside lower center", ncols=min(len(groups), 4) or 1, markerscale=1.2)
    return figure

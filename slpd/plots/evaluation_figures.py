"""Figures of an evaluation: folds and means, ROC curves, calibration, confusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from slpd.plots.style import COLOURS, FAINT, INK, MARKERS, add_legend, curve_style, short

WIDEST = 4  # panels beside each other
SHORT_NAME = 8  # letters of a class beside a confusion matrix that need no more room


@dataclass(frozen=True)
class Measured:
    """A metric of a variant under a head: of every fold, or with every seed, and over them."""

    points: Sequence[float]  # NaN: not defined
    mean: float
    low: float  # of the interval of the mean; NaN: none
    high: float


def draw_folds(panels: Mapping[str, Mapping[str, Sequence[Measured | None]]], variants: Sequence[str]) -> Figure:
    """One panel per metric: every fold as a small dot, means with their intervals, variants from left to right.

    Args:
        panels: Title of a metric -> head -> variant after variant; None: there is no figure.
        variants: Their names.
    """
    n_heads = max(len(heads) for heads in panels.values())
    width = max(3.4, 1.3 + len(variants) * (0.3 + 0.17 * n_heads))
    figure = Figure(figsize=(width * len(panels), 3.5))
    for axes, (title, heads) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, measured in enumerate(heads.values()):
            draw_head(axes, number, len(heads), measured)
        axes.set(title=title, xlim=(-0.6, len(variants) - 0.4))
        axes.set_xticks(
            range(len(variants)), list(map(short, variants)), rotation=35, ha="right", rotation_mode="anchor"
        )
        axes.grid(visible=False, axis="x")
    names = list(next(iter(panels.values())))
    add_legend(figure, names, [head_style(number) | {"markersize": 5} for number in range(len(names))], 6)
    return figure


def draw_head(axes: Axes, number: int, n_heads: int, measured: Sequence[Measured | None]) -> None:
    """The folds, means and intervals of one head."""
    colour, marker = head_style(number).values()
    shift = (number - (n_heads - 1) / 2) * 0.7 / n_heads
    for place, one in enumerate(measured):
        if one is None:
            continue
        x = place + shift
        spread = np.linspace(-0.11, 0.11, len(one.points)) / n_heads
        axes.plot(x + spread, one.points, linestyle="", marker=".", markersize=4, color=colour, alpha=0.45)
        axes.plot([x, x], [one.low, one.high], color=colour, linewidth=1.2)
    shown = [(place + shift, one.mean) for place, one in enumerate(measured) if one is not None]
    xs, means = zip(*shown, strict=True) if shown else ([], [])
    axes.plot(xs, means, linestyle=":", linewidth=0.7, color=colour, alpha=0.6)  # leads the eye along an ablation
    axes.plot(xs, means, linestyle="", marker=marker, markersize=5.5, color=colour, markeredgecolor="none")


def head_style(number: int) -> dict[str, Any]:
    """Colour and marker of a head, by its number."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def draw_roc(
    panels: Mapping[str, Mapping[str, NDArray[np.float64]]], aucs: Mapping[str, Mapping[str, float]]
) -> Figure:
    """One panel per head: the mean ROC curve of every variant.

    Args:
        panels: Head -> variant -> (n, 2) false and true positive rate.
        aucs: Head -> variant -> mean AUC, for the legend.
    """
    figure, places = grid(list(panels), 3.0, 3.5)
    names = list(dict.fromkeys(chain(*panels.values())))
    for axes, (head, curves) in zip(places, panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for name, curve in curves.items():
            label = f"{short(name)} {aucs[head][name]:.3f}"
            axes.plot(curve[:, 0], curve[:, 1], label=label, **curve_style(names.index(name)))
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.legend(loc="lower right", fontsize=7, handlelength=1.6)
    return figure


def draw_calibration(panels: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """One panel per head: mean probability against observed share, dots as large as the share of cases.

    Args:
        panels: Head -> variant -> (n, 3) mean probability, observed share, number of cases.
    """
    figure, places = grid(list(panels), 3.0, 3.3)
    names = list(dict.fromkeys(chain(*panels.values())))
    for axes, curves in zip(places, panels.values(), strict=True):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for name, points in curves.items():
            number = names.index(name)
            sizes = 6 + 60 * points[:, 2] / points[:, 2].sum()
            style = curve_style(number)
            axes.plot(points[:, 0], points[:, 1], **(style | {"linewidth": 1.0}))
            axes.scatter(points[:, 0], points[:, 1], s=sizes, color=style["color"], linewidths=0)
        axes.set(
            xlabel="mean probability", ylabel="observed share", aspect="equal", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
        )
    add_legend(figure, names, list(map(curve_style, range(len(names)))), 3 * len(places))
    return figure


def draw_confusion(panels: Mapping[str, NDArray[np.int64]], classes: Sequence[str]) -> Figure:
    """One matrix per variant: rows are true classes, columns predicted ones; shaded by the share of the row.

    Args:
        panels: Variant -> (C, C) cases.
        classes: Names of the C classes.
    """
    names = list(map(short, classes))
    side = max(1.5, 0.45 * len(classes) + 0.6)
    room = max(0, max(map(len, names)) - SHORT_NAME)  # letters that need room beside and below the matrix
    figure, places = grid(list(panels), side + 0.7 + 0.075 * room, side + 0.9 + 0.05 * room, widest=6)
    for number, (axes, cases) in enumerate(zip(places, panels.values(), strict=True)):
        shares = cases / np.maximum(cases.sum(axis=1, keepdims=True), 1)
        for (row, column), count in np.ndenumerate(cases):
            shade = 0.4 * float(shares[row, column])  # pale enough for the page's text, light and dark
            place = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, facecolor=COLOURS[0], alpha=shade, linewidth=0))
            axes.text(column, row, str(count), ha="center", va="center", color=INK)
        axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
        axes.set_xticks(range(len(classes)), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), names if number % 6 == 0 else [""] * len(classes))
        axes.grid(visible=False)
        axes.set_xlabel("predicted")
        if number % 6 == 0:
            axes.set_ylabel("true")
    return figure


def draw_regression(panels: Mapping[str, NDArray[np.float64]], what: str) -> Figure:
    """One panel per variant: the predicted value of every case against the true one.

    Args:
        panels: Variant -> (n, 2) true and predicted values.
        what: What they are.
    """
    figure, places = grid(list(panels), 2.9, 3.2)
    everything = np.concatenate(list(panels.values()))
    low, high = float(everything.min()), float(everything.max())
    room = 0.04 * (high - low or 1)
    for axes, values in zip(places, panels.values(), strict=True):
        axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8)
        axes.scatter(values[:, 0], values[:, 1], s=12, color=COLOURS[0], alpha=0.5, linewidths=0)
        limits = (low - room, high + room)
        axes.set(xlabel=f"true {short(what)}", ylabel="predicted", xlim=limits, ylim=limits, aspect="equal")
    return figure


def grid(titles: Sequence[str], width: float, height: float, widest: int = WIDEST) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per title, inches wide and high each; panels beyond the last are empty."""
    columns = min(len(titles), widest)
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(width * columns, height * rows))
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places[len(titles) :]:
        axes.set_axis_off()
    for axes, title in zip(places, titles, strict=False):
        axes.set_title(short(title))
    return figure, places[: len(titles)]

"""Training curves: every measure over all epochs, one curve per variant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slpd.artifacts.learned.training_metrics import EpochMetrics
from slpd.plots.style import FAINT, INK, add_legend, curve_style
from slpd.settings.training import TERMS

Curves = Mapping[str, Sequence[EpochMetrics]]  # variant -> its epochs from the first of the warm-up, in order

LOSSES = {"loss": "weighted sum (nats)"} | {term.name: f"{term.symbol} (nats)" for term in TERMS}
COLLAPSE = {
    "teacher_entropy": "entropy of the teacher (nats)",
    "feature_spread": "spread of its vectors (0–1)",
    "gradient_norm": "gradient norm before clipping",
}
SCHEDULE = {
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "teacher_momentum": "teacher momentum",
}


def draw_curves(
    curves: Curves,
    repeats: Mapping[str, str],
    panels: Mapping[str, str],
    warmups: Iterable[int],
    levels: Mapping[str, Iterable[float]],
) -> Figure:
    """One panel per measure; each variant's curves carry the id `curve-<number>-<measure>`.

    Args:
        curves: Of every variant.
        repeats: Name of a repeat with another seed -> that of its variant, whose colour and legend it shares.
        panels: Measure -> title of its panel.
        warmups: Epochs that variants share; lines mark where the first prototypes come.
        levels: Measure -> levels that lines mark.
    """
    own = [name for name in curves if name not in repeats]
    styles = {name: curve_style(number) for number, name in enumerate(own)}
    figure = Figure(figsize=(2.9 * len(panels), 2.9))
    for axes, (key, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, (name, epochs) in enumerate(curves.items()):
            draw_curve(axes, number, styles[repeats.get(name, name)], key, epochs)
        for level in levels.get(key, ()):
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        for warmup in warmups:
            axes.axvline(warmup + 0.5, color=FAINT, linewidth=0.8)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend(figure, own, list(styles.values()), 6)
    return figure


def draw_curve(axes: Axes, number: int, style: Mapping[str, Any], key: str, epochs: Sequence[EpochMetrics]) -> None:
    """The curve of one variant."""
    used = [epoch for epoch in epochs if epoch.terms.get(key, True)]  # a term that an objective lacks is 0
    axes.plot(
        [epoch.epoch for epoch in used],
        [epoch.columns()[key] for epoch in used],
        gid=f"curve-{number}-{key}",
        **style,
        marker="." if len(used) < 30 else "",
        markersize=4,
    )

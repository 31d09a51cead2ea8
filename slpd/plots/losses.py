"""Loss curves: every term over all epochs, one curve per variant."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from slpd.artifacts.training_metrics import EpochMetrics

PANELS = {
    "self_distillation": "$L_{self}$ (nats)",
    "intra": "$L_{intra}$ (nats)",
    "inter": "$L_{inter}$ (nats)",
    "teacher_entropy": "entropy of the teacher (nats)",
}
# Okabe & Ito (2008): told apart with every kind of colour vision; dashes tell curves apart without any.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


def draw_losses(curves: Mapping[str, Sequence[EpochMetrics]]) -> Figure:
    """One panel per loss term.

    Args:
        curves: Variant -> its epochs from the first of the warm-up, in order.
    """
    figure = Figure(figsize=(3.4 * len(PANELS), 3.2), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for i, (variant, epochs) in enumerate(curves.items()):
            used = [e for e in epochs if key not in ("intra", "inter") or getattr(e, key)]  # 0: term not used
            values = [getattr(e, key) for e in used]
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
            axes.plot([e.epoch for e in used], values, marker=".", label=variant, **style)
        axes.set(xlabel="epoch", title=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves) or 1)
    return figure

"""The page of a cohort's training: losses and signs of collapse over all iterations."""

import math
from collections.abc import Sequence
from typing import Any

from slpd.artifacts.training_metrics import COLUMNS, EpochMetrics
from slpd.plots.training import COLLAPSE, LOSSES, SCHEDULE, Curves
from slpd.report.words import count, decimal, significant
from slpd.settings.training import TERMS

# Ours, to draw attention: below these a network may give all regions the same vector, or all the same output.
LEAST_SPREAD = 0.05
EDGE_SHARE = 0.02  # of ln(outputs), from either end


def training_context(cohort: str, curves: Curves, warmup: int, n_outputs: int) -> dict[str, Any]:
    """What the page shows beside its figures.

    Args:
        cohort: Its name.
        curves: Of every variant.
        warmup: Epochs of plain DINO.
        n_outputs: Outputs of the head; the teacher's entropy is at most their logarithm.
    """
    return {
        "cohort": cohort,
        "variants": list(curves),
        "warmup": warmup,
        "columns": [
            {"title": title, "kind": "text" if title == "variant" else "number"}
            for title in (
                "variant",
                "epochs",
                *(term.symbol for term in TERMS),
                "teacher entropy",
                "spread",
                "gradient norm",
            )
        ],
        "rows": [last_row(variant, epochs) for variant, epochs in curves.items()],
        "findings": [text for variant, epochs in curves.items() for text in signs(variant, epochs, n_outputs)],
        "entropy_limit": math.log(n_outputs),
        "limit": decimal(math.log(n_outputs), 2),
        "n_outputs": count(n_outputs),
    }


def last_row(variant: str, epochs: Sequence[EpochMetrics]) -> list[str]:
    """A variant at its last epoch."""
    last = epochs[-1]
    return [
        variant,
        count(last.epoch),
        *(decimal(value) if value else "–" for value in last.terms.values()),
        decimal(last.teacher_entropy),
        decimal(last.feature_spread),
        significant(last.gradient_norm),
    ]


def signs(variant: str, epochs: Sequence[EpochMetrics], n_outputs: int) -> list[str]:
    """Signs of collapse at the last epoch, in words."""
    last, most = epochs[-1], math.log(n_outputs)
    found = []
    if not all(math.isfinite(epoch.loss) for epoch in epochs):
        found.append(f"{variant}: the loss is not a finite number in some epoch.")
    if last.feature_spread < LEAST_SPREAD:
        found.append(
            f"{variant}: the teacher's vectors hardly differ (spread {last.feature_spread:.3f}): collapse to a point."
        )
    if last.teacher_entropy < EDGE_SHARE * most:
        found.append(
            f"{variant}: the teacher's entropy is near 0 ({last.teacher_entropy:.3f}): one output for everything."
        )
    if last.teacher_entropy > (1 - EDGE_SHARE) * most:
        found.append(
            f"{variant}: the teacher's entropy is near ln(outputs) ({last.teacher_entropy:.3f}): all outputs alike."
        )
    return found


def training_table(curves: Curves) -> tuple[list[str], list[list[object]]]:
    """Every epoch of every variant, as columns and rows of a CSV file."""
    rows = [[variant, *epoch.columns().values()] for variant, epochs in curves.items() for epoch in epochs]
    return ["variant", *COLUMNS], rows


FIGURES = {  # name -> title, description, panels
    "losses": (
        "Losses",
        "Mean of every epoch, from the first of plain DINO through all iterations. The vertical line is where the first"
        " prototypes come; a term that an objective lacks has no curve.",
        LOSSES,
    ),
    "collapse": (
        "Signs of collapse",
        "Entropy of the teacher's sharpened targets: near 0 or near the dotted line, ln(outputs), is collapse. Spread:"
        " variance of its unit vectors over a batch; near 0 is collapse.",
        COLLAPSE,
    ),
    "schedule": ("Schedule", "What the optimiser used at the last step of every epoch.", SCHEDULE),
}

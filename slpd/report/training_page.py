"""The page of a cohort's training: losses and signs of collapse over all iterations."""

import math
from collections.abc import Iterable, Sequence

from slpd.artifacts.learned.training_metrics import COLUMNS, EpochMetrics
from slpd.plots.training_curves import COLLAPSE, LOSSES, SCHEDULE, Curves, draw_curves
from slpd.report.navigation import page_name
from slpd.report.site import Rows, Site, columns
from slpd.report.words import count, decimal, either, significant
from slpd.settings.experiment import Experiment
from slpd.settings.training import TERMS

# Ours, to draw attention: below these a network may give all regions the same vector, or all the same output.
LEAST_SPREAD = 0.05
EDGE_SHARE = 0.02  # of ln(outputs), from either end


def write_training(site: Site, experiment: Experiment, cohort: str, curves: Curves) -> None:
    """Write the page of the encoders trained on a cohort."""
    trained = experiment.trained_on(cohort)
    warmups = sorted({experiment.training_of(variant).dino_epochs for variant in trained})
    n_outputs = {variant.name: experiment.region_encoder_of(variant).outputs for variant in trained}
    limits = sorted({math.log(n) for n in n_outputs.values()})
    csv = site.write_csv(f"training-{cohort}", training_table(curves))
    context = {
        "cohort": cohort,
        "variants": list(curves),
        "warmups": either(map(count, warmups)),
        "columns": COLUMNS_AT_THE_END,
        "rows": [last_row(variant, epochs) for variant, epochs in curves.items()],
        "findings": [text for variant, epochs in curves.items() for text in signs(variant, epochs, n_outputs[variant])],
        "limits": either(decimal(limit, 2) for limit in limits),
        "n_outputs": either(map(count, sorted(set(n_outputs.values())))),
        "alike": trained_once(experiment, cohort),
        "figures": [
            site.write_figure(
                f"training-{cohort}-{name}",
                draw_curves(curves, repeats_of(experiment, curves), panels, warmups, {"teacher_entropy": limits}),
                title,
                description,
                csv,
            )
            for name, (title, description, panels) in FIGURES.items()
        ],
        "csv": csv,
    }
    site.write_page(page_name("training", cohort), "training.html.j2", context, scripts=["training.js"])


def repeats_of(experiment: Experiment, names: Iterable[str]) -> dict[str, str]:
    """Name of a repeat with another seed -> that of its variant, of those that have curves."""
    of = {repeat: variant.name for variant in experiment.variants for repeat in experiment.repeats_of(variant.name)[1:]}
    return {name: of[name] for name in names if name in of}


def trained_once(experiment: Experiment, cohort: str) -> list[str]:
    """Which variants have no curves of their own, and why."""
    return [
        f"{other.name} has the settings of {variant.name} here: it is trained once, under that name."
        for variant in experiment.trained_on(cohort)
        for other in experiment.equals_of(cohort, variant)
        if other in experiment.variants
    ]


COLUMNS_AT_THE_END = columns(
    ["variant"],
    ["epochs", *(term.symbol for term in TERMS), "teacher entropy", "spread", "gradient norm"],
)


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
    entropy, spread = last.teacher_entropy, last.feature_spread
    faults = {
        "the loss is not a finite number in some epoch": not all(math.isfinite(epoch.loss) for epoch in epochs),
        f"the teacher's vectors hardly differ (spread {spread:.3f}): collapse to a point": spread < LEAST_SPREAD,
        f"the teacher's entropy is near 0 ({entropy:.3f}): one output for everything": entropy < EDGE_SHARE * most,
        f"the teacher's entropy is near ln(outputs) ({entropy:.3f}): all outputs alike": (
            entropy > (1 - EDGE_SHARE) * most
        ),
    }
    return [f"{variant}: {text}." for text, is_so in faults.items() if is_so]


def training_table(curves: Curves) -> Rows:
    """Every epoch of every variant."""
    rows = [[variant, *epoch.columns().values()] for variant, epochs in curves.items() for epoch in epochs]
    return [["variant", *COLUMNS], *rows]


FIGURES = {  # name -> title, description, panels
    "losses": (
        "Losses",
        "Mean of every epoch, from the first of plain DINO through all iterations. A vertical line is where the first"
        " prototypes come; a term that an objective lacks has no curve.",
        LOSSES,
    ),
    "collapse": (
        "Signs of collapse",
        "Entropy of the teacher's sharpened targets: near 0 or near a dotted line, ln(outputs), is collapse. Spread:"
        " variance of its unit vectors over a batch; near 0 is collapse.",
        COLLAPSE,
    ),
    "schedule": ("Schedule", "What the optimiser used at the last step of every epoch.", SCHEDULE),
}

"""The first page: what went in, how it was trained, what it took, what came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from slpd.artifacts.runs.run_manifest import RunHead
from slpd.report.costs import StageCost
from slpd.report.findings import compared
from slpd.report.front import Front
from slpd.report.site import HOME, Fact, Site, columns
from slpd.report.slides_page import COHORT_COLUMNS, Slides, cohort_row, reason_of, warnings_of
from slpd.report.words import count, decimal, duration, either, plural, significant
from slpd.settings.experiment import Experiment
from slpd.settings.training import TERMS
from slpd.settings.variant import Variant
from slpd.tables.cells import PrintedCell
from slpd.tables.content import TableContent

WEIGHTED = [term for term in TERMS if term.weight_key]


def write_summary(
    site: Site,
    experiment: Experiment,
    cohorts: Sequence[Slides],
    costs: Sequence[StageCost],
    runs: Sequence[RunHead],
    tables: Sequence[TableContent],
    hardware: Mapping[str, Any],
    fronts: Sequence[Front],
) -> None:
    """Write the page; costs are those of every stage, the sum last, hardware is of the machine that writes it."""
    findings = findings_of(experiment, tables, fronts)
    site.write_text("findings.txt", "".join(f"{text}\n" for text in findings))
    context = {
        "findings": findings,
        "fronts": fronts,
        "facts": experiment_facts(experiment, cohorts, costs),
        **slides_part(site, cohorts),
        "schedule": schedule(experiment),
        "variant_columns": VARIANT_COLUMNS,
        "variant_rows": [variant_row(experiment, variant) for variant in shown_variants(experiment)],
        "without_pages": without_pages(experiment),
        **costs_part(site, costs),
        "machine": machine(hardware),
        "run_columns": RUN_COLUMNS,
        "runs": [run_row(run) for run in runs],
        "tables": [table_summary(content) for content in tables],
    }
    site.write_page(HOME, "summary.html.j2", context)


def findings_of(experiment: Experiment, tables: Sequence[TableContent], fronts: Sequence[Front]) -> list[str]:
    """What came out, in sentences: the variants that have pages against plain DINO, then what these have learned."""
    plain = [variant.name for variant in experiment.variants if variant.trained and is_plain(experiment, variant)]
    pairs = [(front.variant, name) for front in fronts for name in plain]
    results = [text for content in tables for pair in pairs for text in compared(content, *pair)]
    return [*results, *(text for front in fronts for text in front.sentences)]


def is_plain(experiment: Experiment, variant: Variant) -> bool:
    """Whether a variant is trained without prototypes."""
    return not experiment.objective_of(variant).needs_prototypes


def experiment_facts(experiment: Experiment, cohorts: Sequence[Slides], costs: Sequence[StageCost]) -> list[Fact]:
    """The experiment in six figures."""
    n_used, n_given = sum(len(slides.used) for slides in cohorts), sum(len(slides.manifest) for slides in cohorts)
    return [
        ("slides used", count(n_used), f"of {count(n_given)}"),
        ("regions", count(sum(sum(slides.region_counts) for slides in cohorts)), ""),
        ("encoders trained", count(len(trained_names(experiment))), "variants and seeds"),
        ("tasks · tables", f"{len(experiment.tasks)} · {len(experiment.tables)}", ""),
        ("measured time", duration(costs[-1].hours) if costs else "none", ""),
        ("GPU-hours", significant(costs[-1].gpu_hours) if costs else "none", ""),
    ]


def trained_names(experiment: Experiment) -> set[str]:
    """The variants that are trained on some cohort."""
    return {variant.name for cohort in experiment.cohorts for variant in experiment.trained_on(cohort.name)}


def slides_part(site: Site, cohorts: Sequence[Slides]) -> dict[str, Any]:
    """What the page shows of slides."""
    left_out = [
        [record.slide, slides.cohort, record.stage, reason_of(record)]
        for slides in cohorts
        for record in slides.left_out
    ]
    titles = ["slide", "cohort", "stage", "reason"]
    return {
        "cohort_columns": COHORT_COLUMNS,
        "cohort_rows": [cohort_row(slides) for slides in cohorts],
        "warnings": [text for slides in cohorts for text in warnings_of(slides)],
        "left_out_columns": columns(titles),
        "left_out_rows": left_out,
        "left_out_csv": site.write_csv("left-out", [titles, *left_out]),
    }


def schedule(experiment: Experiment) -> list[tuple[str, str]]:
    """How encoders are trained, in a few lines."""
    training, prototypes = experiment.training, experiment.prototypes
    grids = [experiment.regions_of(cohort) for cohort in experiment.cohorts_of_slides]
    warmup = plural(training.learning_rate_warmup_epochs, "epoch")
    return [
        ("regions", either(dict.fromkeys(f"{grid.region_px} px at {grid.mpp:g} µm/px" for grid in grids))),
        ("patches", f"{experiment.patch_encoder.patch_px} px, {experiment.patch_encoder.model}"),
        ("plain DINO", f"{training.dino_epochs} epochs, shared by all variants that start alike"),
        ("seeds", ", ".join(map(str, experiment.pretraining_seeds or [training.seed]))),
        (
            "iterations",
            f"{training.epochs - training.dino_epochs} epochs; prototypes renewed every"
            f" {training.epochs_per_iteration} unless a variant says otherwise",
        ),
        ("batch", f"{training.batch_size} regions"),
        ("learning rate", f"{training.learning_rate:g} at a batch of 256, {warmup} of warm-up"),
        ("prototypes", f"M = {prototypes.n_prototypes} per slide of at least {prototypes.min_regions} regions"),
        ("similar slides", f"K = {experiment.slide_graph.n_neighbours}"),
        ("definitions", f"of the {experiment.preset}"),
    ]


def shown_variants(experiment: Experiment) -> list[Variant]:
    """The variants that are trained or stand in a table."""
    wanted = {name for table in experiment.tables for name in table.variants}
    wanted |= trained_names(experiment)
    return [variant for variant in experiment.variants if variant.name in wanted]


def without_pages(experiment: Experiment) -> list[str]:
    """The variants that `report` names and that have no pages, and why."""
    shown = [(cohort.name, experiment.reported_on(cohort.name)) for cohort in experiment.cohorts]
    asked = [variant for variant in experiment.variants if variant.name in (experiment.report.variants or [])]
    return [
        f"{variant.name} stands in report.variants and has no pages of prototypes, slide graph and attention: it is not"
        " trained with prototypes of each slide, or no table uses it."
        for variant in asked
        if not any(experiment.trained_as(cohort, variant) in variants for cohort, variants in shown)
    ]


VARIANT_COLUMNS = columns(
    ["variant", "region vectors"],
    [*(f"weight of {term.symbol}" for term in WEIGHTED), "M", "K", "epochs per iteration"],
)


def variant_row(experiment: Experiment, variant: Variant) -> list[str]:
    """What makes a variant."""
    if not variant.trained:
        return [variant.name, source(variant), *["–"] * (len(WEIGHTED) + 3)]
    objective, graph = experiment.objective_of(variant), experiment.slide_graph_of(variant)
    n_prototypes = sorted({experiment.prototypes_of(cohort, variant).n_prototypes for cohort in experiment.cohorts})
    return [
        variant.name,
        "; ".join([training_source(experiment, variant), *own_settings(variant)]),
        *(f"{objective.weight(term):g}" for term in WEIGHTED),
        ", ".join(map(str, n_prototypes)) if objective.needs_prototypes else "–",
        str(graph.n_neighbours) if objective.needs_graph else "–",
        str(experiment.training_of(variant).epochs_per_iteration) if objective.needs_prototypes else "–",
    ]


def own_settings(variant: Variant) -> list[str]:
    """In which keys of training and region encoder a variant differs."""
    sections = {"training": variant.training, "region_encoder": variant.region_encoder}
    return [f"{section}.{key}: {value}" for section, changes in sections.items() for key, value in changes.items()]


def training_source(experiment: Experiment, variant: Variant) -> str:
    """Under whose names the encoder of a variant is trained on the cohorts whose tables use it."""
    cohorts = [cohort.name for cohort in experiment.cohorts if variant in experiment.tested_on(cohort.name)]
    names = {cohort: experiment.trained_as(cohort, variant).name for cohort in cohorts}
    shared = [f"on {cohort} that of {name}, trained alike" for cohort, name in names.items() if name != variant.name]
    own = ["trained here"] if len(shared) < len(cohorts) or not cohorts else []
    return "; ".join([*own, *shared])


def source(variant: Variant) -> str:
    """Where the region vectors of a variant come from that is not trained."""
    if variant.random:
        return f"encoder with random weights (seed {variant.random.seed})"
    if variant.token_mean:
        return "mean of the patch tokens"
    if variant.patch_tokens:
        return "all patch tokens"
    if variant.vectors:
        return f"vectors of {'slides' if variant.slide_vectors else 'regions'} from {variant.vectors.folder}"
    if variant.encoder_of:
        return f"encoder of {variant.encoder_of.variant}, trained on {variant.encoder_of.cohort}"
    return variant.why_unavailable or "encoder from elsewhere"


def costs_part(site: Site, costs: Sequence[StageCost]) -> dict[str, Any]:
    """What the page shows of the time and memory of stages."""
    fields = list(StageCost.__dataclass_fields__)
    on_gpus = costs and costs[-1].gpu_hours
    return {
        "cost_columns": COST_COLUMNS,
        "cost_rows": [cost_row(cost) for cost in costs[:-1]],
        "cost_total": cost_row(costs[-1]) if costs else [],
        "cost_csv": site.write_csv("costs", [fields, *(list(vars(cost).values()) for cost in costs)]),
        "gpu_note": "" if on_gpus else "No GPU here: what would run on one ran on the cores of this machine.",
    }


COST_COLUMNS = columns(["stage"], ["jobs", "time, all jobs", "longest job", "GPU-hours", "CPU-hours", "memory, GB"])


def cost_row(cost: StageCost) -> list[Any]:
    """The cost of a stage as a line."""
    return [
        cost.stage,
        count(cost.n_jobs),
        {"text": duration(cost.hours), "value": cost.hours},
        {"text": duration(cost.longest_hours), "value": cost.longest_hours},
        significant(cost.gpu_hours),
        significant(cost.cpu_hours),
        decimal(cost.memory_gb, 1),
    ]


def run_row(run: RunHead) -> list[str]:
    """An earlier run as a line."""
    nodes = ", ".join(sorted({job["nodes"] for job in run.jobs if job.get("nodes")}))
    return [
        started(run.run),
        "completed" if run.succeeded else "failed",
        machine(run.hardware),
        f"{count(len(run.jobs))} jobs on {nodes}" if run.jobs else "this machine",
        run.git.get("commit", "")[:10] + (" with changed files" if run.git.get("changed_files") else "") or "–",
    ]


RUN_COLUMNS = columns(["started (UTC)", "ended", "machine", "jobs", "commit"])


def started(run: str) -> str:
    """`20261124-174416` as `2026-11-24 17:44`."""
    return f"{run[:4]}-{run[4:6]}-{run[6:8]} {run[9:11]}:{run[11:13]}" if len(run) == 15 else run


def machine(hardware: Mapping[str, Any]) -> str:
    """A machine in a few words."""
    gpus = ", ".join(str(gpu) for gpu in hardware.get("gpus", [])) or "no GPU"
    memory = f"{hardware.get('memory_bytes', 0) / 1e9:.0f} GB"
    cores = f"{hardware.get('cores', '')} cores"
    return f"{hardware.get('host', '')}: " + ", ".join([str(hardware.get("cpu", "")), cores, memory, gpus])


def table_summary(content: TableContent) -> dict[str, Any]:
    """A table in short: means and deviations."""
    return {
        "name": content.name,
        "caption": content.caption,
        "columns": columns(["variant", "head"], [f"{task} {title}" for task, title in content.printed]),
        "rows": [
            [row.variant, row.head, *(short_text(cell) for cell in content.printed_cells(row))] for row in content.rows
        ],
    }


def short_text(cell: PrintedCell) -> str:
    """A cell without its interval."""
    return cell.text if cell.is_reason else cell.text.partition(" (")[0]

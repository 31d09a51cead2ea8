"""Write the report of an experiment: a folder of pages, figures and data that opens from a file."""

import argparse
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from slpd.artifacts.absent_slides import read_absent
from slpd.artifacts.atomic import atomic_folder
from slpd.artifacts.benchmarks import read_job_costs
from slpd.artifacts.fold_metrics import read_fold_metrics
from slpd.artifacts.folds import read_folds
from slpd.artifacts.manifest import read_manifest
from slpd.artifacts.metric_intervals import read_intervals
from slpd.artifacts.predictions import read_predictions
from slpd.artifacts.published import read_published
from slpd.artifacts.run_manifest import RunManifest, read_runs
from slpd.artifacts.sheet import read_sheet
from slpd.artifacts.training_metrics import read_metrics
from slpd.plots.evaluation import draw_calibration, draw_confusion, draw_folds, draw_roc
from slpd.plots.style import drawing
from slpd.plots.training import Curves, draw_curves
from slpd.report.costs import StageCost, stage_costs
from slpd.report.maps import map_links, write_maps
from slpd.report.repeat import Maker, config_text, settings_context
from slpd.report.results import (
    CsvTable,
    Evaluated,
    calibration_panels,
    confusion_panels,
    confusion_table,
    folds_of,
    folds_table,
    mean_aucs,
    points_table,
    results_context,
    roc_panels,
)
from slpd.report.site import HOME, FigureBlock, Link, Site
from slpd.report.slides import Slides, slides_context, slides_table
from slpd.report.summary import RUN_COLUMNS, machine, summary_context
from slpd.report.training import FIGURES, training_context, training_table
from slpd.run_record import git_state, hardware, packages, seeds
from slpd.settings.evaluation import ClassTask
from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.tables import Table
from slpd.tables.assembly import table_content
from slpd.tables.content import TableContent
from slpd.tables.evaluations import Evaluation
from slpd.tables.facts import TaskFacts, task_facts
from slpd.versions import RESULT_VERSIONS

log = logging.getLogger(__name__)

TABLE_FILES = {"CSV": ".csv", "Markdown": ".md", "LaTeX": ".tex"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--experiment", required=True, help="the whole config (JSON)")
    parser.add_argument("--results", type=Path, required=True, help="the experiment's folder")
    parser.add_argument(
        "--configfiles", nargs="*", default=[], help="files of the config, for the commands to repeat it"
    )
    parser.add_argument("--gpus", required=True, help="rule -> GPUs that a job of it asks for (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


@dataclass(frozen=True)
class Sources:
    """Where the results of an experiment lie (ARCHITECTURE.md has the files)."""

    experiment: Experiment
    results: Path

    def cohort(self, cohort: str) -> Path:
        """The folder of a cohort."""
        return self.results / "cohorts" / cohort

    def variant(self, cohort: str, variant: str) -> Path:
        """The folder of a variant on a cohort."""
        return self.cohort(cohort) / "variants" / variant

    def evaluation(self, task: str, variant: str, head: str) -> Path:
        """The folder of an evaluation."""
        return self.results / "tasks" / task / variant / head

    def folds(self, task: str) -> Path:
        """The folds of a task."""
        return self.results / "tasks" / task / "folds.csv"

    @property
    def trained(self) -> list[Cohort]:
        """The cohorts that encoders are trained on."""
        return [cohort for cohort in self.experiment.cohorts if self.experiment.trained_on(cohort.name)]


def run(args: argparse.Namespace) -> None:
    """Read what there is and write every page."""
    experiment = Experiment.from_json(args.experiment)
    sources = Sources(experiment, args.results)
    maker = Maker(packages(), git_state(Path(__file__).parents[1]), hardware())
    runs = read_runs(args.results)
    costs = stage_costs(read_job_costs(args.results / "benchmarks"), gpus_held(json.loads(args.gpus), maker, runs))
    with atomic_folder(args.out) as folder, drawing():
        site = Site(folder, experiment.experiment, navigation(sources))
        cohorts = [write_slides(site, sources, cohort) for cohort in experiment.cohorts]
        for cohort in sources.trained:
            write_training(site, sources, cohort.name)
        write_maps(site, experiment, args.results)
        tables = [write_results(site, sources, table) for table in experiment.tables]
        write_summary(site, sources, cohorts, costs, runs, tables, maker)
        write_settings(site, experiment, maker, runs, args.configfiles)
    log.info("%d pages", len(site.navigation))


def gpus_held(asked: Mapping[str, int], maker: Maker, runs: Sequence[RunManifest]) -> dict[str, int]:
    """GPUs that jobs hold: what they ask for, or none where no run had GPUs or a queue that gives them."""
    queued = "SLURM_JOB_ID" in os.environ or any(run.jobs for run in runs)
    machines = [maker.hardware, *(run.hardware for run in runs)]
    return dict(asked) if queued or any(machine.get("gpus") for machine in machines) else {}


def navigation(sources: Sources) -> list[Link]:
    """All pages, in order."""
    experiment = sources.experiment
    return [
        Link(HOME, "Summary"),
        *(Link(f"results-{table.name}.html", table.name, "Results") for table in experiment.tables),
        *(Link(f"slides-{cohort.name}.html", cohort.name, "Slides") for cohort in experiment.cohorts),
        *(Link(f"training-{cohort.name}.html", cohort.name, "Training") for cohort in sources.trained),
        *map_links(experiment),
        Link("settings.html", "Settings and versions", "Repeat"),
    ]


# ---- slides ---------------------------------------------------------------------------------------------------------


def write_slides(site: Site, sources: Sources, cohort: Cohort) -> Slides:
    """The page of a cohort's slides."""
    manifest = read_manifest(sources.cohort(cohort.name) / "slides.csv")
    sheet = {row.slide: row for row in read_sheet(Path(cohort.sheet))}
    overlays = sources.cohort(cohort.name) / "regions/overlays"
    from_tokens = any(row.holds_tokens for row in sheet.values())
    pictures = [
        site.link_file(overlays / f"{row.record.slide}.jpg", f"slides/{cohort.name}/{place}.jpg")
        for place, row in enumerate([] if from_tokens else manifest)
    ]
    slides = Slides(cohort.name, manifest, sheet, pictures)
    csv = site.write_csv(f"slides-{cohort.name}", *slides_table(slides))
    context = slides_context(slides) | {"csv": csv}
    site.write_page(f"slides-{cohort.name}.html", "slides.html.j2", context, scripts=["slides.js"])
    return slides


# ---- training -------------------------------------------------------------------------------------------------------


def write_training(site: Site, sources: Sources, cohort: str) -> None:
    """The page of the encoders trained on a cohort."""
    experiment = sources.experiment
    curves = read_curves(sources, cohort)
    warmup, n_outputs = experiment.training.dino_epochs, experiment.region_encoder.outputs
    csv = site.write_csv(f"training-{cohort}", *training_table(curves))
    context = training_context(cohort, curves, warmup, n_outputs) | {"alike": trained_alike(experiment, cohort)}
    figures = [
        site.write_figure(
            f"training-{cohort}-{name}",
            draw_curves(curves, panels, warmup, {"teacher_entropy": context["entropy_limit"]}),
            title,
            description,
            csv,
        )
        for name, (title, description, panels) in FIGURES.items()
    ]
    page = context | {"figures": figures, "csv": csv}
    site.write_page(f"training-{cohort}.html", "training.html.j2", page, scripts=["training.js"])


def trained_alike(experiment: Experiment, cohort: str) -> list[str]:
    """Which variants have no curves of their own, and why."""
    return [
        f"{other.name} has the settings of {variant.name} here: it is trained once, under that name."
        for variant in experiment.trained_on(cohort)
        for other in experiment.equals_of(cohort, variant)
    ]


def read_curves(sources: Sources, cohort: str) -> Curves:
    """The epochs of every variant, those of the warm-up first."""
    warmup = read_metrics(sources.cohort(cohort) / "warmup/metrics.csv")
    return {
        variant.name: [*warmup, *read_metrics(sources.variant(cohort, variant.name) / "metrics.csv")]
        for variant in sources.experiment.trained_on(cohort)
    }


# ---- results --------------------------------------------------------------------------------------------------------


def write_results(site: Site, sources: Sources, table: Table) -> TableContent:
    """The page of a table."""
    experiment = sources.experiment
    evaluations = {task: read_evaluations(sources, table, task) for task in table.tasks}
    facts = [read_facts(sources, task) for task in table.tasks]
    unavailable = {variant.name: variant.why_unavailable for variant in experiment.variants if variant.why_unavailable}
    published = [figure for path in table.published for figure in read_published(Path(path))]
    content = table_content(
        table,
        [Evaluation(one.folds, one.intervals) for one in chain(*evaluations.values())],
        facts,
        unavailable,
        published,
        experiment.intervals.level,
    )
    downloads = [
        (name, site.link_file(sources.results / f"tables/{table.name}{suffix}", f"data/table-{table.name}{suffix}"))
        for name, suffix in TABLE_FILES.items()
    ]
    differences = f"tables/{table.name}_differences.csv"
    context = results_context(content, downloads) | {
        "differences_csv": site.link_file(sources.results / differences, f"data/differences-{table.name}.csv"),
        "sections": [write_task(site, sources, table, one, evaluations[one.task]) for one in facts],
    }
    site.write_page(f"results-{table.name}.html", "results.html.j2", context)
    return content


def read_evaluations(sources: Sources, table: Table, task: str) -> list[Evaluated]:
    """What there is of a task in a table."""
    missing = {variant.name for variant in sources.experiment.variants if variant.why_unavailable}
    return [
        Evaluated(
            variant,
            head,
            read_fold_metrics(folder / "metrics.csv"),
            read_intervals(folder / "intervals.csv"),
            read_predictions(folder / "predictions.csv"),
        )
        for head in table.heads
        for variant in table.variants
        if variant not in missing
        for folder in [sources.evaluation(task, variant, head)]
    ]


def read_facts(sources: Sources, name: str) -> TaskFacts:
    """The facts of a task."""
    (task,) = (task for task in sources.experiment.tasks if task.name == name)
    folds, manifest = sources.folds(name), sources.cohort(task.cohort) / "slides.csv"
    absent = read_absent(folds.with_name("not_in_folds.csv"))
    return task_facts(task, read_folds(folds), read_manifest(manifest), absent)


def write_task(
    site: Site, sources: Sources, table: Table, facts: TaskFacts, evaluations: Sequence[Evaluated]
) -> dict[str, object]:
    """The figures of a task in a table."""
    (task,) = (task for task in sources.experiment.tasks if task.name == facts.task)
    figures: list[FigureBlock] = []
    confusion: list[FigureBlock] = []

    def add(to: list[FigureBlock], kind: str, figure: Figure, title: str, description: str, data: CsvTable) -> None:
        name = f"{table.name}-{task.name}-{kind}"
        to.append(site.write_figure(name, figure, title, description, site.write_csv(name, *data)))

    tested = [one for one in evaluations if one.predictions]
    panels = folds_of(facts, tested, table.metrics, table.heads, table.variants)
    if tested and panels:
        level = f"{100 * sources.experiment.intervals.level:g} %"
        description = f"Small dots are folds, marks their mean, lines its {level} interval (bootstrap over patients)."
        figure = draw_folds(panels, table.variants)
        add(figures, "folds", figure, "Folds and means", description, folds_table(tested))
    if tested and isinstance(task, ClassTask):
        write_class_figures(task, tested, figures, confusion, add)
    survival = "A survival task: ROC curves, calibration and confusion are of classes."
    return {
        "task": task.name,
        "figures": figures,
        "confusion": confusion,
        "notes": [] if isinstance(task, ClassTask) else [survival],
        "failed": [f"{one.head} on {one.variant}: {one.why}" for one in evaluations if one.why],
    }


def write_class_figures(
    task: ClassTask,
    evaluations: Sequence[Evaluated],
    figures: list[FigureBlock],
    confusion: list[FigureBlock],
    add: Callable[..., None],
) -> None:
    """ROC curves, calibration and confusion of a task of classes."""
    several = len(task.classes) > 2
    roc = roc_panels(task, evaluations)
    if roc:
        what = "mean of one-vs-rest curves" if several else f"positive class: {task.classes[1]}"
        description = (
            f"True positive rate, averaged over folds at every false positive rate; {what}. Numbers: mean AUC."
        )
        data = points_table(roc, ["false_positive_rate", "true_positive_rate"])
        add(figures, "roc", draw_roc(roc, mean_aucs(evaluations)), "ROC curves", description, data)
    calibration = calibration_panels(task, evaluations)
    what = "all classes together" if several else f"of {task.classes[1]}"
    description = f"Tenths of predicted probability ({what}), test cases of all folds; dots grow with their cases."
    data = points_table(calibration, ["mean_probability", "observed_share", "n_cases"])
    add(figures, "calibration", draw_calibration(calibration), "Calibration", description, data)
    matrices = confusion_panels(task, evaluations)
    for head, panels in matrices.items():
        description = "Test cases of all folds by true class (rows) and predicted one; shaded by the share of the row."
        data = confusion_table({head: panels}, task.classes)
        add(
            confusion,
            f"confusion-{head}",
            draw_confusion(panels, task.classes),
            f"Confusion, {head}",
            description,
            data,
        )


# ---- summary and settings -------------------------------------------------------------------------------------------


def write_summary(
    site: Site,
    sources: Sources,
    cohorts: Sequence[Slides],
    costs: Sequence[StageCost],
    runs: Sequence[RunManifest],
    tables: Sequence[TableContent],
    maker: Maker,
) -> None:
    """The first page."""
    context = summary_context(sources.experiment, cohorts, costs, runs, tables)
    columns, rows = context["left_out_columns"], context["left_out_rows"]
    context |= {
        "left_out_csv": site.write_csv("left-out", [column["title"] for column in columns], rows),
        "cost_csv": site.write_csv("costs", *costs_table(costs)),
        "machine": machine(maker.hardware),
        "run_columns": RUN_COLUMNS,
        "gpu_note": ""
        if costs and costs[-1].gpu_hours
        else "No GPU here: what would run on one ran on the cores of this machine.",
    }
    site.write_page(HOME, "summary.html.j2", context)


def costs_table(costs: Sequence[StageCost]) -> CsvTable:
    """The cost of every stage."""
    columns = list(StageCost.__dataclass_fields__)
    return columns, [[getattr(cost, column) for column in columns] for cost in costs]


def write_settings(
    site: Site, experiment: Experiment, maker: Maker, runs: Sequence[RunManifest], configfiles: Sequence[str]
) -> None:
    """The page of settings and versions."""
    path = site.write_text("data/config.yaml", config_text(experiment))
    found = dict(seeds(experiment.model_dump(mode="json")))
    context = settings_context(experiment, RESULT_VERSIONS, maker, found, runs, configfiles, path)
    site.write_page("settings.html", "settings.html.j2", context)

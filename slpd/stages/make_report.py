"""Write the report of an experiment: a folder of pages, figures and data that opens from a file."""

import argparse
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from slpd.artifacts.atomic import atomic_folder
from slpd.artifacts.benchmarks import read_job_costs
from slpd.artifacts.manifest import read_manifest
from slpd.artifacts.predictions import read_predictions
from slpd.artifacts.run_manifest import RunManifest, read_runs
from slpd.artifacts.sheet import read_sheet, starts_from_tokens
from slpd.artifacts.training_metrics import read_metrics
from slpd.layout import Layout
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
from slpd.settings.section import named
from slpd.settings.tables import Table
from slpd.tables.content import TableContent
from slpd.tables.facts import TaskFacts
from slpd.tables.sources import TaskFiles, read_table_content
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


def run(args: argparse.Namespace) -> None:
    """Read what there is and write every page."""
    experiment = Experiment.from_json(args.experiment)
    layout = Layout(args.results)
    maker = Maker(packages(), git_state(Path(__file__).parents[1]), hardware())
    runs = read_runs(args.results)
    costs = stage_costs(read_job_costs(layout.benchmarks), gpus_held(json.loads(args.gpus), maker, runs))
    with atomic_folder(args.out) as folder, drawing():
        site = Site(folder, experiment.experiment, navigation(experiment))
        cohorts = [write_slides(site, layout, cohort) for cohort in experiment.cohorts]
        for cohort in trained_cohorts(experiment):
            write_training(site, experiment, layout, cohort)
        write_maps(site, experiment, layout)
        tables = [write_results(site, experiment, layout, table) for table in experiment.tables]
        write_summary(site, experiment, cohorts, costs, runs, tables, maker)
        write_settings(site, experiment, maker, runs, args.configfiles)
    log.info("%d pages", len(site.navigation))


def gpus_held(asked: Mapping[str, int], maker: Maker, runs: Sequence[RunManifest]) -> dict[str, int]:
    """GPUs that jobs hold: what they ask for, or none where no run had GPUs or a queue that gives them."""
    queued = "SLURM_JOB_ID" in os.environ or any(run.jobs for run in runs)
    machines = [maker.hardware, *(run.hardware for run in runs)]
    return dict(asked) if queued or any(machine.get("gpus") for machine in machines) else {}


def trained_cohorts(experiment: Experiment) -> list[str]:
    """The cohorts that encoders are trained on."""
    return [cohort.name for cohort in experiment.cohorts if experiment.trained_on(cohort.name)]


def navigation(experiment: Experiment) -> list[Link]:
    """All pages, in order."""
    return [
        Link(HOME, "Summary"),
        *(Link(f"results-{table.name}.html", table.name, "Results") for table in experiment.tables),
        *(Link(f"slides-{cohort.name}.html", cohort.name, "Slides") for cohort in experiment.cohorts),
        *(Link(f"training-{cohort}.html", cohort, "Training") for cohort in trained_cohorts(experiment)),
        *map_links(experiment),
        Link("settings.html", "Settings and versions", "Repeat"),
    ]


# ---- slides ---------------------------------------------------------------------------------------------------------


def write_slides(site: Site, layout: Layout, cohort: Cohort) -> Slides:
    """The page of a cohort's slides."""
    manifest = read_manifest(layout.manifest(cohort.name))
    sheet = {row.slide: row for row in read_sheet(Path(cohort.sheet))}
    pictures = [
        site.link_file(layout.overlay(cohort.name, row.record.slide), f"slides/{cohort.name}/{place}.jpg")
        for place, row in enumerate([] if starts_from_tokens(sheet.values()) else manifest)
    ]
    slides = Slides(cohort.name, manifest, sheet, pictures)
    csv = site.write_csv(f"slides-{cohort.name}", *slides_table(slides))
    context = slides_context(slides) | {"csv": csv}
    site.write_page(f"slides-{cohort.name}.html", "slides.html.j2", context, scripts=["slides.js"])
    return slides


# ---- training -------------------------------------------------------------------------------------------------------


def write_training(site: Site, experiment: Experiment, layout: Layout, cohort: str) -> None:
    """The page of the encoders trained on a cohort."""
    curves = read_curves(experiment, layout, cohort)
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


def read_curves(experiment: Experiment, layout: Layout, cohort: str) -> Curves:
    """The epochs of every variant, those of the warm-up first."""
    warmup = read_metrics(layout.warmup(cohort) / "metrics.csv")
    return {
        variant.name: [*warmup, *read_metrics(layout.variant(cohort, variant.name) / "metrics.csv")]
        for variant in experiment.trained_on(cohort)
    }


# ---- results --------------------------------------------------------------------------------------------------------


def write_results(site: Site, experiment: Experiment, layout: Layout, table: Table) -> TableContent:
    """The page of a table."""
    content = read_table_content(
        table,
        [layout.evaluation(*names) for names in experiment.evaluations_of(table)],
        [task_files(experiment, layout, task) for task in table.tasks],
        experiment.unavailable_in(table),
        experiment.intervals.level,
    )
    downloads = [
        (name, site.link_file(layout.table(suffix, table.name), f"data/table-{table.name}{suffix}"))
        for name, suffix in TABLE_FILES.items()
    ]
    differences = layout.table("_differences.csv", table.name)
    context = results_context(content, downloads) | {
        "differences_csv": site.link_file(differences, f"data/differences-{table.name}.csv"),
        "sections": [
            write_task(site, experiment, table, facts, evaluated(layout, table, content, facts.task))
            for facts in content.tasks
        ],
    }
    site.write_page(f"results-{table.name}.html", "results.html.j2", context)
    return content


def evaluated(layout: Layout, table: Table, content: TableContent, task: str) -> list[Evaluated]:
    """What there is of a task in a table."""
    return [
        Evaluated(
            variant,
            head,
            evaluation.folds,
            evaluation.intervals,
            read_predictions(layout.evaluation(task, variant, head) / "predictions.csv"),
        )
        for head in table.heads
        for variant in table.variants
        for evaluation in [content.evaluations.get((task, variant, head))]
        if evaluation
    ]


def task_files(experiment: Experiment, layout: Layout, name: str) -> TaskFiles:
    """The files from which the facts of a task are taken."""
    task = named(experiment.tasks, name)
    return TaskFiles(task, layout.folds(name), layout.manifest(task.cohort), layout.absent(name))


def write_task(
    site: Site, experiment: Experiment, table: Table, facts: TaskFacts, evaluations: Sequence[Evaluated]
) -> dict[str, object]:
    """The figures of a task in a table."""
    task = named(experiment.tasks, facts.task)
    figures: list[FigureBlock] = []
    confusion: list[FigureBlock] = []

    def add(to: list[FigureBlock], kind: str, figure: Figure, title: str, description: str, data: CsvTable) -> None:
        name = f"{table.name}-{task.name}-{kind}"
        to.append(site.write_figure(name, figure, title, description, site.write_csv(name, *data)))

    tested = [one for one in evaluations if one.predictions]
    panels = folds_of(facts, tested, table.metrics, table.heads, table.variants)
    if tested and panels:
        level = f"{100 * experiment.intervals.level:g} %"
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
    experiment: Experiment,
    cohorts: Sequence[Slides],
    costs: Sequence[StageCost],
    runs: Sequence[RunManifest],
    tables: Sequence[TableContent],
    maker: Maker,
) -> None:
    """The first page."""
    context = summary_context(experiment, cohorts, costs, runs, tables)
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

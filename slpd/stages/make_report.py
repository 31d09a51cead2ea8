"""Write the report of an experiment: a folder of pages, figures and data that opens from a file."""

import argparse
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.kind_agreement import region_kinds
from slpd.artifacts.atomic import atomic_folder
from slpd.artifacts.evaluation.metric_intervals import read_intervals
from slpd.artifacts.evaluation.predictions import read_predictions
from slpd.artifacts.evaluation.region_weights import read_region_weights
from slpd.artifacts.evaluation.robustness_table import RobustnessLine, read_robustness
from slpd.artifacts.evaluation.subgroup_tables import read_figures, read_gaps
from slpd.artifacts.learned.bags import read_corners
from slpd.artifacts.learned.cohort_prototypes import read_prototypes
from slpd.artifacts.learned.embeddings import read_embeddings
from slpd.artifacts.learned.graph_test import read_graph_test
from slpd.artifacts.learned.iteration_history import read_iterations
from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.artifacts.learned.prototype_map import read_prototype_map
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.artifacts.learned.slide_map import read_slide_map
from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.artifacts.runs.job_costs import read_job_costs
from slpd.artifacts.runs.run_manifest import RunHead, read_runs
from slpd.artifacts.slides.known_kinds import read_known_kinds
from slpd.artifacts.slides.manifest import read_manifest
from slpd.artifacts.slides.region_table import read_regions
from slpd.artifacts.slides.sheet import read_sheet, starts_from_tokens
from slpd.layout import Layout
from slpd.plots.style import drawing
from slpd.plots.training_curves import Curves
from slpd.report.attention import weights_of_slides
from slpd.report.cohort_view import CohortView, SlideView, places_on_sheet
from slpd.report.costs import stage_costs
from slpd.report.navigation import WeighingHead, navigation, reported, trained_cohorts, weighing_heads
from slpd.report.result_figures import Evaluated
from slpd.report.results_page import TaskResults, write_results
from slpd.report.robustness_part import ByVariant
from slpd.report.settings_page import Maker, write_settings
from slpd.report.site import Site
from slpd.report.slides_page import Slides, write_slides
from slpd.report.sources import curve_file, evaluation_files, variant_files, without_vectors
from slpd.report.subgroups_part import SubgroupResults
from slpd.report.summary_page import write_summary
from slpd.report.training_page import write_training
from slpd.report.variant_pages import write_variant
from slpd.report.variant_results import HeadResults, VariantResults, predicted_case, slide_views
from slpd.run_record import git_state, hardware, packages, seeds
from slpd.settings.evaluation import ClassTask
from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.section import named
from slpd.settings.tables import Table
from slpd.tables.content import TableContent
from slpd.tables.sources import TaskFiles, read_table_content

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
    used_seeds = dict(seeds(experiment.model_dump(mode="json")))
    maker = Maker(packages(), used_seeds, git_state(Path(__file__).parents[1]), hardware())
    runs = read_runs(args.results)
    costs = stage_costs(read_job_costs(layout.benchmarks), gpus_held(json.loads(args.gpus), maker, runs))
    with atomic_folder(args.out) as folder, drawing():
        site = Site(folder, experiment.experiment, navigation(experiment))
        cohorts = [read_slides(site, layout, cohort) for cohort in experiment.cohorts_of_slides]
        for slides in cohorts:
            write_slides(site, slides)
        for cohort in trained_cohorts(experiment):
            write_training(site, experiment, cohort, read_curves(experiment, layout, cohort))
        fronts = []
        for cohort, variant in reported(experiment):
            with open_variant(experiment, layout, cohort, variant) as results:
                link_pictures(site, layout, results.view)
                fronts.append(write_variant(site, results, experiment.report.nearest_regions, experiment.report.cases))
        tables = [make_results(site, experiment, layout, table) for table in experiment.tables]
        write_summary(site, experiment, cohorts, costs, runs, tables, maker.hardware, fronts)
        write_settings(site, experiment, maker, runs, args.configfiles)
    log.info("%d pages", len(site.navigation))


def gpus_held(asked: Mapping[str, int], maker: Maker, runs: Sequence[RunHead]) -> dict[str, int]:
    """GPUs that jobs hold: what they ask for, or none where no run had GPUs or a queue that gives them."""
    queued = "SLURM_JOB_ID" in os.environ or any(run.jobs for run in runs)
    machines = [maker.hardware, *(run.hardware for run in runs)]
    return dict(asked) if queued or any(machine.get("gpus") for machine in machines) else {}


# ---- slides and training --------------------------------------------------------------------------------------------


def read_slides(site: Site, layout: Layout, cohort: Cohort) -> Slides:
    """The slides of a cohort, with their overlays in the report; of token files there are none."""
    manifest = read_manifest(layout.manifest(cohort.name))
    sheet = {row.slide: row for row in read_sheet(Path(cohort.sheet))}
    drawn = [] if starts_from_tokens(sheet.values()) else manifest
    overlays = [layout.overlay(cohort.name, row.record.slide) for row in drawn]
    pictures = [site.link_file(path, f"slides/{cohort.name}/{n}.jpg") for n, path in enumerate(overlays)]
    return Slides(cohort.name, manifest, sheet, pictures)


def read_curves(experiment: Experiment, layout: Layout, cohort: str) -> Curves:
    """The epochs of every variant, those of its warm-up first."""
    files = {
        variant.name: (layout.warmup(cohort, experiment.warmups[variant.name]), layout.variant(cohort, variant.name))
        for variant in experiment.trained_on(cohort)
    }
    return {
        name: [epoch for folder in both for epoch in read_metrics(curve_file(folder))] for name, both in files.items()
    }


# ---- what variants have learned -------------------------------------------------------------------------------------


@contextmanager
def open_variant(experiment: Experiment, layout: Layout, cohort: str, variant: str) -> Iterator[VariantResults]:
    """The results of a variant; the attention of patches stays on the disk, open within the block."""
    files = variant_files(layout.variant(cohort, variant))
    prototypes = read_prototypes(files.prototypes)
    with open_patch_attention(files.attention) as attention:
        yield VariantResults(
            read_cohort(experiment, layout, cohort, files.bags),
            variant,
            prototypes,
            read_embeddings(files.embeddings).of(prototypes.features),
            read_iterations(files.iterations).assignments,
            read_slide_graph(files.graph),
            read_prototype_map(files.prototype_map),
            read_slide_map(files.slide_map),
            read_graph_test(files.graph_test),
            list(robustness_by_task(experiment, layout, cohort, variant)),
            [read_head_results(layout, head) for head in weighing_heads(experiment, cohort, variant)],
            attention,
        )


def robustness_by_task(
    experiment: Experiment, layout: Layout, cohort: str, variant: str
) -> Iterator[tuple[str, RobustnessLine]]:
    """Every task of a cohort with what was measured of a variant's vectors."""
    tasks = [task.name for task in experiment.tasks if task.cohort == cohort]
    for task in (task for task in tasks if variant in experiment.measured_on(task)):
        yield from ((task, line) for line in read_robustness(layout.robustness(task, variant)))


def read_cohort(experiment: Experiment, layout: Layout, cohort: str, bags: Path) -> CohortView:
    """The slides used with their regions, in the order of `bags`."""
    coords, offsets = read_corners(bags)
    manifest = read_manifest(layout.manifest(cohort))
    sheet = {row.slide: row for row in read_sheet(Path(named(experiment.cohorts, cohort).sheet))}
    used = [row.record.slide for row in manifest if row.used]
    corners = [pictured_corners(layout.regions(cohort, slide)) for slide in used]
    pieces = np.split(coords, offsets[1:-1])
    places = np.concatenate([places_on_sheet(piece, shown) for piece, shown in zip(pieces, corners, strict=True)])
    slides = slide_views(manifest, sheet, list(map(len, corners)))
    kinds = known_kinds(named(experiment.cohorts, cohort).known_kinds, slides, pieces)
    classes = [task.label for task in experiment.tasks if cohort in task.cohorts and isinstance(task, ClassTask)]
    return CohortView(cohort, slides, offsets, coords, places, experiment.report.picture_px, classes, kinds)


def known_kinds(path: str | None, slides: Sequence[SlideView], corners: Sequence[NDArray[np.int64]]) -> list[str]:
    """The known kind of every region; none without a file of them, or without places of regions."""
    squares = read_known_kinds(Path(path)) if path else {}
    sides = [slide.record.region_lv0 for slide in slides]
    if not squares or None in sides:
        return []
    pieces = zip(slides, corners, sides, strict=True)
    return [kind for slide, c, side in pieces for kind in region_kinds(c, side or 0, squares.get(slide.slide, []))]


def pictured_corners(regions: Path) -> list[tuple[int, int]]:
    """Corners of the regions on a slide's sheet of pictures; none in cohorts of imported tokens."""
    return [(region.x_lv0, region.y_lv0) for region in read_regions(regions)] if regions.exists() else []


def read_head_results(layout: Layout, head: WeighingHead) -> HeadResults:
    """The predictions of a head and its weights."""
    task, variant, name = head
    files = evaluation_files(layout.evaluation(task.name, variant, name))
    cases = [predicted_case(task, line) for line in read_predictions(files.predictions)]
    weights = weights_of_slides(read_region_weights(files.weights))
    why = next((interval.why for interval in read_intervals(files.intervals) if interval.why), "")
    return HeadResults(task, name, cases, weights, why)


def link_pictures(site: Site, layout: Layout, view: CohortView) -> None:
    """Thumbnails and sheets of region pictures, under the numbers of their slides."""
    for slide in view.slides:
        for of_slide, kind in ((layout.thumbnail, "thumbnails"), (layout.pictures, "regions")):
            picture, place = of_slide(view.cohort, slide.slide), f"{kind}/{view.cohort}/{slide.number}.jpg"
            if slide.n_pictures and not (site.folder / place).exists():
                site.link_file(picture, place)


# ---- tables ---------------------------------------------------------------------------------------------------------


def make_results(site: Site, experiment: Experiment, layout: Layout, table: Table) -> TableContent:
    """Read what a table is made of and write its page."""
    tasks = [named(experiment.tasks, task) for task in table.tasks]
    without = without_vectors(experiment, layout, table)
    content = read_table_content(
        table,
        [layout.evaluation(*names) for names in experiment.evaluations_of(table)],
        [
            TaskFiles(
                task,
                layout.folds(task.name),
                [layout.manifest(cohort) for cohort in task.cohorts],
                layout.absent(task.name),
                without[task.name],
            )
            for task in tasks
        ],
        experiment.unavailable_in(table),
        experiment.intervals.level,
        experiment.repeats_in(table),
    )
    results = [
        TaskResults(
            task,
            facts,
            read_evaluated(layout, table, content, task.name),
            read_subgroups(layout, task.name) if experiment.subgroups.columns else SubgroupResults([], []),
            read_robustness_of(experiment, layout, table, task.name),
        )
        for task, facts in zip(tasks, content.tasks, strict=True)
    ]
    downloads = [
        (name, site.link_file(layout.table(suffix, table.name), f"data/table-{table.name}{suffix}"))
        for name, suffix in TABLE_FILES.items()
    ]
    differences = site.link_file(layout.table("_differences.csv", table.name), f"data/differences-{table.name}.csv")
    write_results(site, table, content, results, downloads, differences)
    return content


def read_subgroups(layout: Layout, task: str) -> SubgroupResults:
    """The groups of a task, of all its evaluations."""
    return SubgroupResults(read_figures(layout.subgroups(task)), read_gaps(layout.subgroup_gaps(task)))


def read_robustness_of(experiment: Experiment, layout: Layout, table: Table, task: str) -> ByVariant:
    """Variant of a table -> robustness of its vectors, where that is measured."""
    measured = [variant for variant in table.variants if variant in experiment.measured_on(task)]
    return {variant: read_robustness(layout.robustness(task, variant)) for variant in measured}


def read_evaluated(layout: Layout, table: Table, content: TableContent, task: str) -> list[Evaluated]:
    """The evaluations of a task in a table, with their predictions; of several seeds, with that of `training`."""
    names = [(task, variant, head) for head in table.heads for variant in table.variants]
    return [
        Evaluated(variant, head, evaluation.folds, evaluation.intervals, read_predictions(files.predictions))
        for task, variant, head in names
        for evaluation in content.evaluations.get((task, variant, head), [])[:1]
        for files in [evaluation_files(layout.evaluation(task, variant, head))]
    ]

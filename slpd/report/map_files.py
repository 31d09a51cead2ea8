"""The files that the maps of a variant are made of, read."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.slide_properties import slide_properties
from slpd.artifacts.bags import read_corners
from slpd.artifacts.embeddings import read_embeddings
from slpd.artifacts.graph_test import GraphTest, read_graph_test
from slpd.artifacts.iterations import read_iterations
from slpd.artifacts.manifest import ManifestRow, read_manifest
from slpd.artifacts.metric_intervals import read_intervals
from slpd.artifacts.patch_attention import PatchAttention, open_patch_attention
from slpd.artifacts.predictions import Prediction, read_predictions
from slpd.artifacts.prototype_map import MappedPrototype, read_prototype_map
from slpd.artifacts.prototypes import CohortPrototypes, read_prototypes
from slpd.artifacts.region_weights import read_region_weights
from slpd.artifacts.regions import read_regions
from slpd.artifacts.sheet import read_sheet
from slpd.artifacts.slide_graph import SlideGraphArrays, read_slide_graph
from slpd.artifacts.slide_map import MappedSlide, read_slide_map
from slpd.layout import Layout
from slpd.report.attention import PredictedCase, weights_of_slides
from slpd.report.cohort_view import CohortView, SlideView, places_on_sheet
from slpd.settings.evaluation import ClassTask, SurvivalTask
from slpd.settings.experiment import Experiment
from slpd.settings.heads import TrainedHead
from slpd.settings.section import named


@dataclass(frozen=True)
class HeadResults:
    """What a head predicts, and by which regions."""

    task: ClassTask | SurvivalTask
    head: str
    cases: Sequence[PredictedCase]
    weights: Mapping[str, Mapping[int, NDArray[np.float32]]]  # slide -> fold -> weight of each region
    why: str  # the data did not allow the evaluation: there are no cases; empty: they did


@dataclass(frozen=True)
class VariantResults:
    """All that the pages of a variant show of a cohort."""

    view: CohortView
    variant: str
    content: CohortPrototypes
    embeddings: NDArray[np.float32]  # (R, D), the features that were clustered
    iterations: NDArray[np.int16]  # (I, R)
    graph: SlideGraphArrays
    prototype_points: Sequence[MappedPrototype]
    slide_points: Sequence[MappedSlide]
    tests: Sequence[GraphTest]
    heads: Sequence[HeadResults]
    attention: PatchAttention


def read_variant(experiment: Experiment, layout: Layout, cohort: str, variant: str, stack: ExitStack) -> VariantResults:
    """Read the results of a variant; the attention of patches stays on the disk, open until the stack is closed."""
    folder = layout.variant(cohort, variant)
    content = read_prototypes(folder / "prototypes.npz")
    return VariantResults(
        read_cohort(experiment, layout, cohort, folder / "bags.h5"),
        variant,
        content,
        read_embeddings(folder / "embeddings.h5").of(content.features),
        read_iterations(folder / "iterations.npz").assignments,
        read_slide_graph(folder / "graph.npz"),
        read_prototype_map(folder / "prototype_map.csv"),
        read_slide_map(folder / "slide_map.csv"),
        read_graph_test(folder / "graph_test.csv"),
        [read_head(layout, *names) for names in heads_with_weights(experiment, cohort, variant)],
        stack.enter_context(open_patch_attention(folder / "patch_attention.h5")),
    )


def read_cohort(experiment: Experiment, layout: Layout, cohort: str, bags: Path) -> CohortView:
    """The slides used with their regions, in the order of `bags`."""
    coords, offsets = read_corners(bags)
    manifest = read_manifest(layout.manifest(cohort))
    used = [(number, row) for number, row in enumerate(manifest) if row.used]
    sheet = {row.slide: row for row in read_sheet(Path(named(experiment.cohorts, cohort).sheet))}
    rows = [sheet[row.record.slide] for _, row in used]
    properties = slide_properties(rows, {row.record.slide: row.record.slide_mpp for _, row in used})
    slides, places = [], []
    for place, (number, row) in enumerate(used):
        corners = kept_corners(layout.regions(cohort, row.record.slide))
        own = coords[offsets[place] : offsets[place + 1]]
        places.append(places_on_sheet(own, corners))
        values = {name: column[place] for name, column in properties.items()}
        slides.append(slide_view(number, row, values, len(corners)))
    classes = [task.label for task in experiment.tasks if task.cohort == cohort and isinstance(task, ClassTask)]
    places_of_all = np.concatenate(places)
    return CohortView(cohort, slides, offsets, coords, places_of_all, experiment.report.picture_px, classes)


def kept_corners(regions: Path) -> list[tuple[int, int]]:
    """Corners of the regions on a slide's sheet of pictures; none in cohorts of imported tokens."""
    return [(region.x_lv0, region.y_lv0) for region in read_regions(regions)] if regions.exists() else []


def slide_view(number: int, row: ManifestRow, values: Mapping[str, str], n_pictures: int) -> SlideView:
    """What pages know of a slide."""
    record = row.record
    sizes = (record.width_lv0, record.height_lv0, record.slide_mpp, record.region_lv0)
    return SlideView(record.slide, number, values, *sizes, n_pictures)


def heads_with_weights(
    experiment: Experiment, cohort: str, variant: str
) -> list[tuple[ClassTask | SurvivalTask, str, str]]:
    """Task, variant and head of every evaluation in a table whose head weighs regions: not of mean vectors.

    Of variants that are trained alike, the first in a table: their evaluations are equal too.
    """
    equals = experiment.equals_of(cohort, named(experiment.variants, variant))
    alike = {variant, *(other.name for other in equals)}
    tasks = {task.name: task for task in experiment.tasks if task.cohort == cohort}
    weighing = [head.name for head in experiment.heads if isinstance(head, TrainedHead)]
    found: dict[tuple[str, str], tuple[ClassTask | SurvivalTask, str, str]] = {}
    for table in experiment.tables:
        names = sorted(alike & set(table.variants), key=lambda name: (name != variant, name))
        for task, head in product(table.tasks, table.heads):
            if names and task in tasks and head in weighing:
                found.setdefault((task, head), (tasks[task], names[0], head))
    return list(found.values())


def read_head(layout: Layout, task: ClassTask | SurvivalTask, variant: str, head: str) -> HeadResults:
    """The predictions of a head and its weights."""
    folder = layout.evaluation(task.name, variant, head)
    cases = [predicted_case(task, line) for line in read_predictions(folder / "predictions.csv")]
    weights = weights_of_slides(read_region_weights(folder / "region_weights.h5"))
    why = next((one.why for one in read_intervals(folder / "intervals.csv") if one.why), "")
    return HeadResults(task, head, cases, weights, why)


def predicted_case(task: ClassTask | SurvivalTask, line: Prediction) -> PredictedCase:
    """A test case with its score: the probability of the true class, or the risk."""
    score = float(line.predicted) if isinstance(task, SurvivalTask) else line.outputs[task.classes.index(line.label)]
    return PredictedCase(line.fold, line.slides, line.patient, line.label, line.event, line.predicted, score)

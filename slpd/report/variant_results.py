"""What the pages of a variant show: what it has learned of a cohort, and what heads predict with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.slide_properties import slide_properties
from slpd.artifacts.evaluation.predictions import Prediction
from slpd.artifacts.evaluation.robustness_table import RobustnessLine
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.graph_test import GraphTest
from slpd.artifacts.learned.patch_attention import PatchAttention
from slpd.artifacts.learned.prototype_map import MappedPrototype
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.artifacts.learned.slide_map import MappedSlide
from slpd.artifacts.slides.manifest import ManifestRow
from slpd.artifacts.slides.sheet import SheetRow
from slpd.plots.prototype_figures import Group
from slpd.report.attention import PredictedCase
from slpd.report.cohort_view import CohortView, SlideView, column
from slpd.report.palette import SERIES_COLOURS
from slpd.settings.evaluation import ClassTask, RegressionTask, TaskSettings


@dataclass(frozen=True)
class HeadResults:
    """What a head predicts, and by which regions."""

    task: TaskSettings
    head: str
    cases: Sequence[PredictedCase]
    weights: Mapping[str, Mapping[int, NDArray[np.float32]]]  # slide -> fold -> weight of each region
    why: str  # the data did not allow the evaluation: there are no cases; empty: they did


@dataclass(frozen=True)
class VariantResults:
    """All that the pages of a variant show of a cohort."""

    view: CohortView
    variant: str
    prototypes: CohortPrototypes
    embeddings: NDArray[np.float32]  # (R, D), the features that were clustered
    iterations: NDArray[np.int16]  # (I, R)
    graph: SlideGraphArrays
    prototype_points: Sequence[MappedPrototype]
    slide_points: Sequence[MappedSlide]
    tests: Sequence[GraphTest]
    robustness: Sequence[tuple[str, RobustnessLine]]  # of its vectors, by task
    heads: Sequence[HeadResults]
    attention: PatchAttention


def slide_views(
    manifest: Sequence[ManifestRow], sheet: Mapping[str, SheetRow], n_pictures: Sequence[int]
) -> list[SlideView]:
    """What pages know of the slides used.

    Args:
        manifest: Of the cohort.
        sheet: Its sheet, by slide.
        n_pictures: Of each slide used, regions on its sheet of pictures.
    """
    used = [(number, row.record) for number, row in enumerate(manifest) if row.used]
    rows = [sheet[record.slide] for _, record in used]
    properties = slide_properties(rows, {record.slide: record.slide_mpp for _, record in used})
    return [
        SlideView(record, number, {name: values[place] for name, values in properties.items()}, n_pictures[place])
        for place, (number, record) in enumerate(used)
    ]


def value_groups(view: CohortView, name: str, slides: Sequence[str]) -> list[Group]:
    """Points of a map by their slide's value in a column: the most frequent values, others, not given.

    Args:
        view: The cohort.
        name: The column.
        slides: Slide of each point.
    """
    value_of = {slide.slide: slide.values.get(name, "") for slide in view.slides}
    values = np.array([value_of[slide] for slide in slides])
    shown = column(name, values.tolist()).get("categories", [])[: len(SERIES_COLOURS) - 2]
    groups = [
        *(Group(value, np.flatnonzero(values == value), True) for value in shown),
        Group("(others)", np.flatnonzero(~np.isin(values, [*shown, ""])), False),
        Group("(not given)", np.flatnonzero(values == ""), False),
    ]
    return [group for group in groups if len(group.members)]


def predicted_case(task: TaskSettings, line: Prediction) -> PredictedCase:
    """A test case with its score: the probability of the true class, the risk, or less the error."""
    if isinstance(task, ClassTask):
        score = line.outputs[task.classes.index(line.label)]
    elif isinstance(task, RegressionTask):
        score = -abs(float(line.predicted) - float(line.label))
    else:
        score = float(line.predicted)
    return PredictedCase(line.fold, line.slides, line.patient, line.label, line.event, line.predicted, score)

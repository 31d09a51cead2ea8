"""Which files the report is made of: known before any of them is there, so that the workflow can ask for them."""

from collections.abc import Iterator, Mapping
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

from slpd.artifacts.slides.sheet import starts_from_tokens
from slpd.inputs import Sheet
from slpd.layout import Layout
from slpd.settings.experiment import Experiment
from slpd.settings.section import named
from slpd.settings.tables import Table
from slpd.slide_batches import batches_of


class EvaluationFiles(NamedTuple):
    """What an evaluation left."""

    predictions: Path
    metrics: Path
    intervals: Path
    calibration: Path
    weights: Path
    resamples: Path


class VariantFiles(NamedTuple):
    """What a variant with pages of prototypes, slide graph and attention has learned."""

    prototypes: Path
    embeddings: Path
    iterations: Path
    graph: Path
    bags: Path
    attention: Path
    prototype_map: Path
    slide_map: Path
    graph_test: Path


def evaluation_files(folder: Path) -> EvaluationFiles:
    """The files of an evaluation, by its folder."""
    tables = ("predictions.csv", "metrics.csv", "intervals.csv", "calibration.csv")
    names = (*tables, "region_weights.h5", "resamples.npz")
    return EvaluationFiles(*(folder / name for name in names))


def variant_files(folder: Path) -> VariantFiles:
    """The files of a variant, by its folder."""
    arrays = ("prototypes.npz", "embeddings.h5", "iterations.npz", "graph.npz", "bags.h5", "patch_attention.h5")
    tables = ("prototype_map.csv", "slide_map.csv", "graph_test.csv")
    return VariantFiles(*(folder / name for name in (*arrays, *tables)))


def curve_file(folder: Path) -> Path:
    """The metrics of every epoch, by the folder of a variant or of the warm-up."""
    return folder / "metrics.csv"


def report_files(experiment: Experiment, sheets: Mapping[str, Sheet], layout: Layout) -> list[Path]:
    """Every file that the report reads, once; without the tables' own, of which `make_table` knows the formats."""
    of_cohorts = (path for cohort in experiment.cohorts for path in cohort_files(experiment, layout, cohort.name))
    pictures = (path for cohort, sheet in sheets.items() for path in picture_files(experiment, layout, cohort, sheet))
    given = (path for cohort in experiment.cohorts_of_slides for path in (cohort.sheet, cohort.known_kinds))
    return list(
        dict.fromkeys([*map(Path, filter(None, given)), *of_cohorts, *pictures, *table_sources(experiment, layout)])
    )


def cohort_files(experiment: Experiment, layout: Layout, cohort: str) -> Iterator[Path]:
    """The slides of a cohort, the curves of its encoders, what the variants in the report have learned."""
    yield layout.manifest(cohort)
    yield from (curve_file(layout.warmup(cohort, start)) for start in experiment.warmups_on(cohort))
    yield from (curve_file(layout.variant(cohort, variant.name)) for variant in experiment.trained_on(cohort))
    for variant in experiment.reported_on(cohort):
        yield from variant_files(layout.variant(cohort, variant.name))


def picture_files(experiment: Experiment, layout: Layout, cohort: str, sheet: Sheet) -> Iterator[Path]:
    """What batches have pictures of slides and, where a variant is in the report, of their regions beside them.

    Of token files there are none.
    """
    folders = ["regions", *(["tissue", "pictures"] if experiment.reported_on(cohort) else [])]
    if not starts_from_tokens(sheet.values()):
        yield from (layout.batch(folder, cohort, batch) for folder, batch in product(folders, batches_of(sheet)))


def without_vectors(experiment: Experiment, layout: Layout, table: Table) -> dict[str, dict[str, list[Path]]]:
    """Task -> variant of vectors made elsewhere -> the slides that have none, by cohort, for a table's variants."""
    made = [name for name in table.variants if named(experiment.variants, name).vectors]
    cohorts = {task: named(experiment.tasks, task).cohorts for task in table.tasks}
    return {
        task: {variant: [layout.without_vectors(cohort, variant) for cohort in both] for variant in made}
        for task, both in cohorts.items()
    }


def comparison_files(experiment: Experiment, layout: Layout, table: Table) -> Iterator[Path]:
    """What compares parts of the test cases, and class with site in vectors, for the tasks of a table."""
    for task in table.tasks:
        if experiment.subgroups.columns:
            yield from (layout.subgroups(task), layout.subgroup_gaps(task))
        yield from (layout.robustness(task, variant) for variant in experiment.measured_on(task))


def table_sources(experiment: Experiment, layout: Layout) -> Iterator[Path]:
    """The evaluations, folds and published figures of every table."""
    for table in experiment.tables:
        for names in experiment.evaluations_of(table):
            yield from evaluation_files(layout.evaluation(*names))
        yield from comparison_files(experiment, layout, table)
        for task in table.tasks:
            yield from (layout.folds(task), layout.absent(task))
        for files in without_vectors(experiment, layout, table).values():
            yield from chain.from_iterable(files.values())
        yield from map(Path, table.published)

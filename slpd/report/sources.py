"""Which files the report is made of: known before any of them is there, so that the workflow can ask for them."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from slpd.artifacts.sheet import starts_from_tokens
from slpd.inputs import Sheet
from slpd.layout import Layout
from slpd.settings.experiment import Experiment

OF_EVALUATION = ("predictions.csv", "metrics.csv", "intervals.csv", "calibration.csv", "region_weights.h5")
OF_REPORTED = (  # variants with pages of prototypes, slide graph and attention
    *("prototypes.npz", "embeddings.h5", "iterations.npz", "graph.npz", "bags.h5"),
    *("patch_attention.h5", "prototype_map.csv", "slide_map.csv", "graph_test.csv"),
)


def report_files(experiment: Experiment, sheets: Mapping[str, Sheet], layout: Layout) -> list[Path]:
    """Every file that the report reads, once; without the tables' own, of which `make_table` knows the formats."""
    files = (
        *slide_files(experiment, sheets, layout),
        *training_files(experiment, layout),
        *result_files(experiment, layout),
        *learned_files(experiment, sheets, layout),
    )
    return list(dict.fromkeys(files))


def slide_files(experiment: Experiment, sheets: Mapping[str, Sheet], layout: Layout) -> Iterator[Path]:
    """The slides of every cohort; of token files there are no pictures."""
    for cohort in experiment.cohorts:
        yield Path(cohort.sheet)
        yield layout.manifest(cohort.name)
        if not starts_from_tokens(sheets[cohort.name].values()):
            yield from (layout.overlay(cohort.name, slide) for slide in sheets[cohort.name])


def training_files(experiment: Experiment, layout: Layout) -> Iterator[Path]:
    """The curves of every encoder."""
    for cohort in experiment.cohorts:
        trained = experiment.trained_on(cohort.name)
        folders = [layout.warmup(cohort.name)] if trained else []
        folders += [layout.variant(cohort.name, variant.name) for variant in trained]
        yield from (folder / "metrics.csv" for folder in folders)


def result_files(experiment: Experiment, layout: Layout) -> Iterator[Path]:
    """The evaluations, folds and published figures of every table."""
    for table in experiment.tables:
        for names, file in product(experiment.evaluations_of(table), OF_EVALUATION):
            yield layout.evaluation(*names) / file
        for task in table.tasks:
            yield from (layout.folds(task), layout.absent(task))
        yield from map(Path, table.published)


def learned_files(experiment: Experiment, sheets: Mapping[str, Sheet], layout: Layout) -> Iterator[Path]:
    """What the variants in the report have learned, with pictures of slides and regions; of token files none."""
    for cohort in (entry.name for entry in experiment.cohorts):
        reported = experiment.reported_on(cohort)
        for variant, file in product(reported, OF_REPORTED):
            yield layout.variant(cohort, variant.name) / file
        if reported and not starts_from_tokens(sheets[cohort].values()):
            for slide in sheets[cohort]:
                yield from (picture(cohort, slide) for picture in (layout.thumbnail, layout.regions, layout.pictures))

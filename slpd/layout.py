"""Where an experiment's files are, once for rules, the report and scripts.

A name that is not given stays open, the way Snakemake writes wildcards: `layout.variant()` is the pattern of all
variants' folders, `layout.variant("nsclc", "slpd")` is one of them. ARCHITECTURE.md says what the files hold.
"""

from dataclasses import dataclass
from pathlib import Path

OF_OTHER = "/of_"  # begins the folder of a cohort's bags by the encoder of another
RUNS, BENCHMARKS, REPORT = "runs", "benchmarks", "report"  # folders of an experiment without results of stages

BATCHES, OVERLAYS = "batches", "overlays"  # folders in the folder of a stage on slides
MASK, THUMBNAIL, OVERLAY = "{slide}.png", "{slide}.jpg", f"{OVERLAYS}/{{slide}}.jpg"
REGIONS, GEOJSON, PICTURES, FINISHED = "{slide}.csv", "{slide}.geojson", "{slide}.jpg", "{slide}.json"
TOKENS = "{slide}.h5"
# Folder of a cohort -> the files that its stage leaves there of every slide.
SLIDE_FILES: dict[str, tuple[str, ...]] = {
    "tissue": (MASK, THUMBNAIL, OVERLAY, FINISHED),
    "regions": (REGIONS, GEOJSON, OVERLAY, FINISHED),
    "pictures": (PICTURES, FINISHED),
    "tokens": (TOKENS,),
}


def files_of_slide(folder: Path, slide: str) -> list[Path]:
    """The files of a slide in the folder of a stage."""
    return [folder / name.format(slide=slide) for name in SLIDE_FILES[folder.name]]


def results_of(experiment: str) -> Path:
    """The folder of an experiment's results, where the workflow runs."""
    return Path("results", experiment)


def logs_of(experiment: str) -> Path:
    """The folder of its logs, with one folder per stage in it."""
    return Path("logs", experiment)


def iteration_name(iteration: int) -> str:
    """The folder of an iteration, counted from 0."""
    return f"{iteration:03d}"


@dataclass(frozen=True)
class Layout:
    """The folders of an experiment, and the files in them that several places of the code name."""

    results: Path

    def cohort(self, cohort: str = "{cohort}") -> Path:
        """All of a cohort."""
        return self.results / "cohorts" / cohort

    def manifest(self, cohort: str = "{cohort}") -> Path:
        """Slides used and left out."""
        return self.cohort(cohort) / "slides.csv"

    def used(self, cohort: str = "{cohort}") -> Path:
        """A digest of the slides used."""
        return self.cohort(cohort) / "used.txt"

    def thumbnail(self, cohort: str = "{cohort}", slide: str = "{slide}") -> Path:
        """A slide at low resolution."""
        return self.cohort(cohort) / "tissue" / f"{slide}.jpg"

    def regions(self, cohort: str = "{cohort}", slide: str = "{slide}") -> Path:
        """The region table of a slide."""
        return self.cohort(cohort) / "regions" / f"{slide}.csv"

    def batch(self, folder: str, cohort: str = "{cohort}", batch: object = "{batch}") -> Path:
        """What a stage leaves of a batch of slides, in its folder of the cohort (`SLIDE_FILES`)."""
        place = self.cohort(cohort) / folder
        return place / f"batch_{batch}.json" if folder == "tokens" else place / BATCHES / f"{batch}.json"

    def imported(self, cohort: str = "{cohort}") -> Path:
        """The same of all slides of a cohort whose tokens were made elsewhere."""
        return self.cohort(cohort) / "tokens/imported.json"

    def overlay(self, cohort: str = "{cohort}", slide: str = "{slide}") -> Path:
        """The regions of a slide on its thumbnail."""
        return self.cohort(cohort) / "regions/overlays" / f"{slide}.jpg"

    def pictures(self, cohort: str = "{cohort}", slide: str = "{slide}") -> Path:
        """The sheet of a slide's region pictures."""
        return self.cohort(cohort) / "pictures" / f"{slide}.jpg"

    def warmup(self, cohort: str = "{cohort}", start: str = "{start}") -> Path:
        """What plain DINO leaves for the variants that start alike (`Experiment.warmups`)."""
        return self.cohort(cohort) / f"warmup{start}"

    def variant(self, cohort: str = "{cohort}", variant: str = "{variant}") -> Path:
        """All that a variant has learned on a cohort."""
        return self.cohort(cohort) / "variants" / variant

    def bags(self, cohort: str = "{cohort}", variant: str = "{variant}", trained_on: str = "{trained_on}") -> Path:
        """Its bags of the cohort.

        `trained_on` is empty, or OF_OTHER and a cohort, where its encoder was trained on that other cohort for a task
        with a test cohort.
        """
        return Path(f"{self.variant(cohort, variant)}{trained_on}/bags.h5")

    def without_vectors(self, cohort: str = "{cohort}", variant: str = "{variant}") -> Path:
        """Slides of which a variant of vectors made elsewhere has none."""
        return self.variant(cohort, variant) / "not_in_bags.csv"

    def iteration(self, cohort: str, variant: str, iteration: int) -> Path:
        """Prototypes and slide graph of one of its iterations, counted from 0."""
        return self.variant(cohort, variant) / "iterations" / iteration_name(iteration)

    def embeddings_after(self, cohort: str, variant: str, iterations: int, start: str) -> Path:
        """Region embeddings of the encoder after so many iterations, where a block ends; at first of the warm-up."""
        after = self.iteration(cohort, variant, iterations).with_suffix(".h5")
        return after if iterations else self.warmup(cohort, start) / "embeddings.h5"

    def training(self, cohort: str = "{cohort}", variant: str = "{variant}") -> Path:
        """What its training keeps, unknown to Snakemake."""
        return self.variant(cohort, variant) / "training"

    def task(self, task: str = "{task}") -> Path:
        """The folds of a task, and its evaluations."""
        return self.results / "tasks" / task

    def folds(self, task: str = "{task}") -> Path:
        """Which slide is in which split of which fold."""
        return self.task(task) / "folds.csv"

    def absent(self, task: str = "{task}") -> Path:
        """Slides that split files name and no fold has."""
        return self.task(task) / "not_in_folds.csv"

    def evaluation(self, task: str = "{task}", variant: str = "{variant}", head: str = "{head}") -> Path:
        """What a head predicts from the region vectors of a variant."""
        return self.task(task) / variant / head

    def prediction(self, name: str = "{prediction}") -> Path:
        """What trained heads say of the slides of a cohort."""
        return self.results / "predictions" / name

    def subgroups(self, task: str = "{task}") -> Path:
        """Metrics of parts of its test cases."""
        return self.task(task) / "subgroups.csv"

    def subgroup_gaps(self, task: str = "{task}") -> Path:
        """The largest gaps between these parts."""
        return self.task(task) / "subgroup_gaps.csv"

    def robustness(self, task: str = "{task}", variant: str = "{variant}") -> Path:
        """Whether the vectors of a variant follow the class or the site."""
        return self.task(task) / variant / "robustness.csv"

    def table(self, suffix: str, table: str = "{table}") -> Path:
        """A file of a table, by what comes after the table's name: `.md`, `_differences.csv`."""
        return self.results / "tables" / f"{table}{suffix}"

    @property
    def benchmarks(self) -> Path:
        """Wall time and memory of heavy jobs, with one folder per stage in it."""
        return self.results / BENCHMARKS

    @property
    def report(self) -> Path:
        """The report."""
        return self.results / REPORT

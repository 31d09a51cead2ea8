"""Reads the files that a table is made of, for `make_table` and for the report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.evaluation.absent_slides import read_absent
from slpd.artifacts.evaluation.fold_metrics import read_fold_metrics
from slpd.artifacts.evaluation.folds import read_folds
from slpd.artifacts.evaluation.metric_intervals import read_intervals
from slpd.artifacts.outside.published import read_published
from slpd.artifacts.slides.manifest import read_manifest
from slpd.errors import UserError
from slpd.settings.evaluation import TaskSettings
from slpd.settings.tables import Table
from slpd.tables.assembly import table_content
from slpd.tables.content import TableContent
from slpd.tables.evaluations import Evaluation, Repeats
from slpd.tables.facts import TaskFacts, task_facts


@dataclass(frozen=True)
class TaskFiles:
    """A task, and the files from which its facts are taken."""

    task: TaskSettings
    folds: Path
    manifests: Sequence[Path]  # of its cohort, and of its test cohort
    absent: Path  # not_in_folds.csv
    without_vectors: Mapping[str, Sequence[Path]]  # variant of vectors made elsewhere -> not_in_bags.csv of both


def read_table_content(
    table: Table,
    evaluations: Iterable[Path],
    tasks: Iterable[TaskFiles],
    unavailable: Mapping[str, str],
    level: float,
    repeats: Repeats,
) -> TableContent:
    """The content of a table, from the folders of evaluations and the files of its tasks, in its order.

    `unavailable` is why variants cannot be evaluated, `level` the confidence level of comparisons, `repeats` the names
    of variants under several seeds.
    """
    read = [read_evaluation(folder) for folder in evaluations]
    facts = [read_facts(files) for files in tasks]
    published = [figure for path in table.published for figure in read_published(Path(path))]
    return table_content(table, read, facts, unavailable, published, level, repeats)


def read_evaluation(folder: Path) -> Evaluation:
    """The metrics that an evaluation left in its folder."""
    metrics, intervals = read_fold_metrics(folder / "metrics.csv"), read_intervals(folder / "intervals.csv")
    evaluation = Evaluation(metrics, intervals, folder / "resamples.npz")
    for name, lines in (("metrics.csv", evaluation.folds), ("intervals.csv", evaluation.intervals)):
        if not lines:
            raise UserError(
                f"{folder / name}: no line of figures, as evaluate writes them; delete the file and run snakemake again"
            )
    return evaluation


def read_facts(files: TaskFiles) -> TaskFacts:
    """What the caption says of a task."""
    folds, manifest = read_folds(files.folds), [row for path in files.manifests for row in read_manifest(path)]
    without_vectors = {
        variant: [slide for path in paths for slide in read_absent(path)]
        for variant, paths in files.without_vectors.items()
    }
    return task_facts(files.task, folds, manifest, read_absent(files.absent), without_vectors)

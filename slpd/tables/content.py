"""What a table holds, whatever its format: rows, cells, and the facts its caption must state."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slpd.artifacts.fold_metrics import FoldMetrics
from slpd.artifacts.folds import SPLITS, Fold
from slpd.artifacts.manifest import ManifestRow
from slpd.errors import UserError
from slpd.settings.evaluation import Metric, Table

TITLES: dict[Metric, str] = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
}
LISTED = 10  # left-out slides named in a caption; the manifest has them all


@dataclass(frozen=True)
class Cell:
    """A metric over the folds in which it is defined."""

    mean: float  # nan: defined in no fold
    std: float  # ddof 1; nan: defined in fewer than two folds
    n_defined: int
    n_folds: int

    @property
    def text(self) -> str:
        """The cell with three decimals; says over how many folds, unless over all."""
        if not self.n_defined:
            return "not defined"
        spread = "" if math.isnan(self.std) else f" ± {self.std:.3f}"
        folds = "" if self.n_defined == self.n_folds else f" ({self.n_defined} of {self.n_folds} folds)"
        return f"{self.mean:.3f}{spread}{folds}"


@dataclass(frozen=True)
class Row:
    """One variant and head, with a cell per column."""

    variant: str
    head: str
    cells: list[Cell]


@dataclass(frozen=True)
class TaskFacts:
    """What a caption says of a task."""

    task: str
    n_given: int  # slides of the cohort
    n_used: int  # slides of the cohort that were not left out
    n_patients: int  # patients in the folds
    n_folds: int
    classes: dict[str, int]  # class -> slides in the folds
    left_out: list[tuple[str, str]]  # slide, reason

    @property
    def text(self) -> str:
        """The facts, without the left-out slides, in one sentence."""
        classes = ", ".join(f"{name} {count}" for name, count in self.classes.items())
        return (
            f"{self.task}: {self.n_used} of {self.n_given} slides of the cohort used; in the folds"
            f" {sum(self.classes.values())} labelled slides of {self.n_patients} patients ({classes});"
            f" {self.n_folds} folds."
        )

    @property
    def left_out_texts(self) -> list[str]:
        """The left-out slides by name and reason; after the first ten, how many more there are."""
        named = [f"{slide}: {reason}" for slide, reason in self.left_out[:LISTED]]
        n_more = len(self.left_out) - len(named)
        return [*named, f"and {n_more} more, listed in slides.csv"] if n_more else named


@dataclass(frozen=True)
class TableContent:
    """A table before it has a format."""

    name: str
    caption: str
    columns: list[tuple[str, Metric]]  # task, metric; the columns of a task stand together
    rows: list[Row]
    tasks: list[TaskFacts]

    @property
    def legend(self) -> str:
        """How to read the cells."""
        best = "; the best of each column is in bold" if len(self.rows) > 1 else ""
        return f"Mean ± standard deviation (ddof 1) over folds{best}."

    def is_best(self, row: Row, column: int) -> bool:
        """Whether no other row prints a higher mean in this column; a table of one row has no best."""
        printed = [round(other.cells[column].mean, 3) for other in self.rows if other.cells[column].n_defined]
        return len(self.rows) > 1 and bool(printed) and round(row.cells[column].mean, 3) == max(printed)


Evaluations = dict[tuple[str, str, str], dict[int, FoldMetrics]]  # task, variant, head -> fold -> metrics


def table_content(table: Table, metrics: Sequence[FoldMetrics], tasks: Sequence[TaskFacts]) -> TableContent:
    """The content of a table.

    Args:
        table: Rows and columns wanted.
        metrics: Metrics of every fold of every evaluation; may hold more than the table shows.
        tasks: Facts of each task of the table, in its order.

    Raises:
        UserError: an evaluation that the table shows lacks a fold, or a fold of it is there twice.
    """
    evaluations = by_evaluation(metrics)
    for variant in table.variants:
        for head in table.heads:
            for task in tasks:
                check_folds(table, task, variant, head, evaluations)
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    rows = [
        Row(
            variant,
            head,
            [summarise([getattr(f, metric) for f in evaluations[t, variant, head].values()]) for t, metric in columns],
        )
        for variant in table.variants
        for head in table.heads
    ]
    return TableContent(table.name, table.caption, columns, rows, list(tasks))


def by_evaluation(metrics: Sequence[FoldMetrics]) -> Evaluations:
    """The folds of every evaluation."""
    evaluations: Evaluations = {}
    for fold in metrics:
        folds = evaluations.setdefault((fold.task, fold.variant, fold.head), {})
        if fold.fold in folds:
            raise UserError(
                f"task {fold.task}, variant {fold.variant}, head {fold.head}: the metrics of fold {fold.fold} are there"
                " twice; give every metrics file once"
            )
        folds[fold.fold] = fold
    return evaluations


def check_folds(table: Table, task: TaskFacts, variant: str, head: str, evaluations: Evaluations) -> None:
    """Refuse to show an evaluation that is missing or of other folds."""
    found = sorted(evaluations.get((task.task, variant, head), {}))
    if found != list(range(task.n_folds)):
        raise UserError(
            f"table {table.name}: task {task.task} has {task.n_folds} folds, but the metrics of variant {variant},"
            f" head {head} are of {len(found)}; run evaluate for it again and give its metrics file"
        )


def summarise(values: Sequence[float]) -> Cell:
    """Mean and standard deviation (ddof 1) of the values that are numbers."""
    defined = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(defined) if defined else math.nan
    std = statistics.stdev(defined) if len(defined) > 1 else math.nan
    return Cell(mean, std, len(defined), len(values))


def task_facts(task: str, folds: Sequence[Fold], manifest: Sequence[ManifestRow]) -> TaskFacts:
    """The facts of a task, from its folds and the manifest of its cohort."""
    slides = {slide.slide: slide for fold in folds for split in SPLITS for slide in getattr(fold, split)}
    left_out = [row.record for row in manifest if not row.used]
    return TaskFacts(
        task=task,
        n_given=len(manifest),
        n_used=len(manifest) - len(left_out),
        n_patients=len({slide.patient for slide in slides.values()}),
        n_folds=len(folds),
        classes=dict(sorted(Counter(slide.label for slide in slides.values()).items())),
        left_out=[(record.slide, one_line(record.reason, record.slide)) for record in left_out],
    )


def one_line(reason: str, slide: str) -> str:
    """A reason without line breaks, control characters and the leading name of the slide."""
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split()).removeprefix(f"slide {slide}: ")

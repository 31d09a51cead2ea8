"""What a table holds, whatever its format: rows, cells, and the facts its caption must state."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from slpd.artifacts.fold_metrics import FoldMetrics
from slpd.artifacts.metric_intervals import MetricInterval
from slpd.artifacts.published import PublishedFigure
from slpd.errors import UserError
from slpd.evaluation.comparison import Difference, paired_difference
from slpd.settings.tables import LESS_IS_BETTER, Metric, Table, metrics_of
from slpd.tables.facts import TaskFacts

TITLES: dict[Metric, str] = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "kappa": "kappa",
    "ece": "calibration error",
    "c_index": "c-index",
}
WHY_UNDEFINED: dict[Metric, str] = {
    "auc": "a class has no test case in any fold",
    "kappa": "one class alone is tested and predicted in every fold",
    "c_index": "no two test cases of a fold can be compared",
}
NO_FIGURE = "none known"


@dataclass(frozen=True)
class Cell:
    """A metric over the folds in which it is defined, or why there is none."""

    mean: float = math.nan
    std: float = math.nan  # ddof 1; NaN: defined in fewer than two folds
    low: float = math.nan  # of the bootstrap interval of the mean
    high: float = math.nan
    n_defined: int = 0
    n_folds: int = 0
    why: str = ""  # there is no figure; empty: there is

    @property
    def text(self) -> str:
        """The cell with three decimals; says over how many folds, unless over all."""
        if self.why:
            return self.why
        spread = ", one fold" if math.isnan(self.std) else f" ± {self.std:.3f}"
        interval = "" if math.isnan(self.low) else f" ({self.low:.3f}–{self.high:.3f})"
        folds = "" if self.n_defined == self.n_folds else f" ({self.n_defined} of {self.n_folds} folds)"
        return f"{self.mean:.3f}{spread}{interval}{folds}"


@dataclass(frozen=True)
class Published:
    """What is published for a cell."""

    value: float = math.nan
    std: float = math.nan
    source: int = 0  # number of its source in the table's list; 0: no figure
    why: str = NO_FIGURE  # there is no figure; empty: there is

    @property
    def text(self) -> str:
        """The figure as published, with the number of its source."""
        spread = "" if math.isnan(self.std) else f" ± {self.std:.3f}"
        return self.why or f"{self.value:.3f}{spread} ({self.source})"


@dataclass(frozen=True)
class Row:
    """One head and variant, with a cell per column."""

    head: str
    variant: str
    cells: list[Cell]
    published: list[Published | None]  # None: the column has no published figure in any row


class PrintedCell(NamedTuple):
    """What a format prints."""

    text: str
    is_best: bool
    is_reason: bool  # it says why there is no figure


@dataclass(frozen=True)
class Comparison:
    """Two variants under the same head, in one column."""

    task: str
    metric: Metric
    head: str
    first: str
    second: str
    difference: Difference


@dataclass(frozen=True)
class TableContent:
    """A table before it has a format."""

    name: str
    caption: str
    columns: list[tuple[str, Metric]]  # task, metric; the columns of a task stand together
    rows: list[Row]
    tasks: list[TaskFacts]
    comparisons: list[Comparison]
    sources: list[str]  # of published figures; the first is number 1
    level: float  # confidence level of intervals and comparisons

    @property
    def has_published(self) -> list[bool]:
        """Of each column, whether a column of published figures stands beside it."""
        return [self.rows[0].published[column] is not None for column in range(len(self.columns))]

    @property
    def printed(self) -> list[tuple[str, str]]:
        """Task and title of every printed column: of ours, and of published figures beside them."""
        return [
            (task, title)
            for (task, metric), shown in zip(self.columns, self.has_published, strict=True)
            for title in [TITLES[metric], *([f"{TITLES[metric]}, published"] if shown else [])]
        ]

    def printed_cells(self, row: Row) -> list[PrintedCell]:
        """Every printed cell of a row."""
        cells = []
        for column, (cell, published) in enumerate(zip(row.cells, row.published, strict=True)):
            cells.append(PrintedCell(cell.text, self.is_best(row, column), bool(cell.why)))
            if published is not None:
                cells.append(PrintedCell(published.text, False, bool(published.why)))
        return cells

    @property
    def source_texts(self) -> list[str]:
        """The sources of published figures, numbered."""
        return [f"({number}) {source}" for number, source in enumerate(self.sources, 1)]

    @property
    def legend(self) -> str:
        """How to read the cells."""
        share = f"{100 * self.level:g}"
        text = (
            f"Mean ± standard deviation (ddof 1) over folds ({share} % interval of the mean: bootstrap over patients)."
        )
        if len({row.variant for row in self.rows}) > 1:
            text += (
                " Bold: better than every other variant under the same head beyond noise (corrected resampled t-test on"
                f" paired folds, p below {1 - self.level:.2g}); no bold: no such variant."
            )
        if self.sources:
            text += " Published figures are of other slides, regions or folds; read them beside ours, not against them."
        return text

    def is_best(self, row: Row, column: int) -> bool:
        """Whether the row is better in this column than every other with the same head, each beyond noise."""
        task, metric = self.columns[column]
        others = [other for other in self.rows if other.head == row.head and other is not row]
        rivals = [other.variant for other in others if not other.cells[column].why]
        return (
            bool(rivals)
            and not row.cells[column].why
            and all(self.is_better(task, metric, row.head, row.variant, rival) for rival in rivals)
        )

    def is_better(self, task: str, metric: Metric, head: str, variant: str, rival: str) -> bool:
        """Whether a variant is better than another beyond noise."""
        wanted = (task, metric, head)
        for found in self.comparisons:
            if (found.task, found.metric, found.head) == wanted and {found.first, found.second} == {variant, rival}:
                sign = (1 if found.first == variant else -1) * (-1 if metric in LESS_IS_BETTER else 1)
                return sign * found.difference.mean > 0 and found.difference.p_value < 1 - self.level
        return False


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation left: a head on a variant's bags in a task."""

    folds: list[FoldMetrics]  # fold 0 first
    intervals: list[MetricInterval]


Evaluations = Mapping[tuple[str, str, str], Evaluation]  # task, variant, head


def table_content(
    table: Table,
    evaluations: Sequence[Evaluation],
    tasks: Sequence[TaskFacts],
    unavailable: Mapping[str, str],
    published: Sequence[PublishedFigure],
    level: float,
) -> TableContent:
    """The content of a table.

    Args:
        table: Rows and columns wanted.
        evaluations: Every evaluation; may hold more than the table shows.
        tasks: Facts of each task of the table, in its order.
        unavailable: Variant -> why no evaluation of it can be made.
        published: Published figures; may hold more than the table shows.
        level: Confidence level of comparisons.

    Raises:
        UserError: an evaluation that the table shows lacks a fold, or is there twice.
    """
    found = by_names(evaluations)
    variants = [variant for variant in table.variants if variant not in unavailable]
    for task in tasks:
        for head in table.heads:
            for variant in variants:
                check_folds(table, task, variant, head, found)
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    facts = {task.task: task for task in tasks}
    figures, sources = figures_of(table, published)
    beside = [
        any((task, v, h, metric) in figures for v in table.variants for h in table.heads) for task, metric in columns
    ]
    rows = [
        Row(
            head,
            variant,
            [cell_of(facts[task], variant, head, metric, found, unavailable) for task, metric in columns],
            [
                figures.get((task, variant, head, metric), Published()) if shown else None
                for (task, metric), shown in zip(columns, beside, strict=True)
            ],
        )
        for head in table.heads
        for variant in table.variants
    ]
    comparisons = [
        Comparison(task, metric, head, *pair, compare(found, facts[task], metric, head, pair, level))
        for task, metric in columns
        if metric in metrics_of(facts[task].kind)
        for head in table.heads
        for pair in combinations(variants, 2)
    ]
    return TableContent(table.name, table.caption, columns, rows, list(tasks), comparisons, sources, level)


def by_names(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str, str], Evaluation]:
    """The evaluations by task, variant and head."""
    found: dict[tuple[str, str, str], Evaluation] = {}
    for evaluation in evaluations:
        first = evaluation.folds[0]
        names = (first.task, first.variant, first.head)
        if names in found:
            raise UserError(
                f"task {names[0]}, variant {names[1]}, head {names[2]}: its metrics are there twice; give each"
                " folder once"
            )
        found[names] = evaluation
    return found


def check_folds(table: Table, task: TaskFacts, variant: str, head: str, evaluations: Evaluations) -> None:
    """Refuse to show an evaluation that is missing or of other folds."""
    evaluation = evaluations.get((task.task, variant, head))
    found = [fold.fold for fold in evaluation.folds] if evaluation else []
    if found != list(range(task.n_folds)):
        raise UserError(
            f"table {table.name}: task {task.task} has {task.n_folds} folds, but the metrics of variant {variant},"
            f" head {head} are of {len(found)}; run evaluate for it again and give its folder"
        )


def cell_of(
    task: TaskFacts, variant: str, head: str, metric: Metric, evaluations: Evaluations, unavailable: Mapping[str, str]
) -> Cell:
    """A cell of the table."""
    if metric not in metrics_of(task.kind):
        return Cell(why=f"not of {task.kind} tasks")
    if variant in unavailable:
        return Cell(why=unavailable[variant])
    (of,) = (i for i in evaluations[task.task, variant, head].intervals if i.metric == metric)
    why = of.why if of.n_folds or of.why else f"not defined: {WHY_UNDEFINED.get(metric, 'no test cases')}"
    return Cell(of.mean, of.std, of.low, of.high, of.n_folds, task.n_folds, why)


def compare(
    evaluations: Evaluations, task: TaskFacts, metric: Metric, head: str, pair: tuple[str, str], level: float
) -> Difference:
    """The paired difference of two variants under a head."""
    first, second = ([getattr(f, metric) for f in evaluations[task.task, v, head].folds] for v in pair)
    return paired_difference(first, second, task.test_to_train, level)


Figures = dict[tuple[str, str, str, str], Published]  # task, variant, head, metric


def figures_of(table: Table, published: Sequence[PublishedFigure]) -> tuple[Figures, list[str]]:
    """The published figures of the table's cells, and their sources in order of appearance."""
    figures: Figures = {}
    sources: list[str] = []
    for entry in published:
        if not (entry.task in table.tasks and entry.variant in table.variants and entry.head in table.heads):
            continue
        place = (entry.task, entry.variant, entry.head, entry.metric)
        if entry.value is None:
            figures.setdefault(place, Published(why=f"to be filled in: {entry.file}"))
            continue
        if place in figures and not figures[place].why:
            raise UserError(f"table {table.name}: {', '.join(place)} is published twice ({entry.file}); keep one line")
        if entry.source not in sources:
            sources.append(entry.source)
        std = math.nan if entry.std is None else entry.std
        figures[place] = Published(entry.value, std, sources.index(entry.source) + 1, "")
    return figures, sources

"""What a table holds, whatever its format: rows, cells, and the facts its caption must state."""

from dataclasses import dataclass

from slpd.settings.tables import Metric
from slpd.tables.cells import Cell, PrintedCell, Published
from slpd.tables.comparisons import Comparison
from slpd.tables.evaluations import Evaluations
from slpd.tables.facts import TaskFacts

TITLES: dict[Metric, str] = {
    "auc": "AUC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "mcc": "MCC",
    "kappa": "kappa",
    "ece": "calibration error",
    "c_index": "c-index",
    "uno_c_index": "c-index (Uno)",
    "td_auc": "time-dependent AUC",
    "ibs": "integrated Brier score",
    "r2": "R²",
    "mae": "MAE",
    "pearson": "Pearson r",
    "spearman": "Spearman ρ",
}

# How variants are compared, and whether in tasks with a test cohort.
TESTS = (
    ("corrected resampled t-test on paired folds", False),
    ("on a test cohort: paired bootstrap over its patients", True),
)


@dataclass(frozen=True)
class Row:
    """One head and variant, with a cell per column."""

    head: str
    variant: str
    cells: list[Cell]
    published: list[Published | None]  # None: the column has no published figure in any row


@dataclass(frozen=True)
class TableContent:
    """A table before it has a format."""

    name: str
    caption: str
    columns: list[tuple[str, Metric]]  # task, metric; the columns of a task stand together
    rows: list[Row]
    tasks: list[TaskFacts]
    evaluations: Evaluations  # may be more than the rows show
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
    def tests(self) -> str:
        """How variants are compared."""
        kinds = [kind for kind, external in TESTS if external in {bool(task.external) for task in self.tasks}]
        return "; ".join(kinds)

    @property
    def legend(self) -> str:
        """How to read the cells."""
        share = f"{100 * self.level:g}"
        text = (
            f"Mean ± standard deviation (ddof 1) over folds ({share} % interval of the mean: bootstrap over patients)."
            f"{self.seeds_legend}"
        )
        if len({row.variant for row in self.rows}) > 1:
            text += (
                f" Bold: better than every other variant under the same head beyond noise ({self.tests}, p below"
                f" {1 - self.level:.2g}); no bold: no such variant."
            )
        if self.sources:
            text += " Published figures are of other slides, regions or folds; read them beside ours, not against them."
        return text

    @property
    def seeded(self) -> dict[str, int]:
        """Variant -> its seeds of pretraining, where there are several."""
        return {row.variant: cell.n_seeds for row in self.rows for cell in row.cells if cell.n_seeds > 1}

    @property
    def seeds_legend(self) -> str:
        """How to read the cells of variants under several seeds; empty: there are none."""
        if not self.seeded:
            return ""
        n_seeds = max(self.seeded.values())
        return (
            f" {', '.join(self.seeded)}: over {n_seeds} pretraining seeds of the mean over folds; intervals"
            " and tests count what seeds contribute, too (after Zou & Donner 2008)."
        )

    def is_best(self, row: Row, column: int) -> bool:
        """Whether the row is better in this column than every other with the same head, each beyond noise."""
        rivals = {
            other.variant
            for other in self.rows
            if other.head == row.head and other is not row and not other.cells[column].why
        }
        return bool(rivals) and not row.cells[column].why and rivals <= self.beaten_by(row, column)

    def beaten_by(self, row: Row, column: int) -> set[str]:
        """The variants than which the row's is better in this column, under its head, beyond noise."""
        wanted = (*self.columns[column], row.head)
        pairs = [pair for pair in self.comparisons if (pair.task, pair.metric, pair.head) == wanted]
        won = [{pair.first, pair.second} for pair in pairs if pair.better(self.level) == row.variant]
        return set().union(*won) - {row.variant}

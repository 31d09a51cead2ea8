"""What a table's page shows of parts of the test cases: a figure per column, the sizes of groups, the largest gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slpd.artifacts.evaluation.subgroup_tables import SubgroupFigure, SubgroupGap
from slpd.plots.evaluation_figures import Measured, draw_folds
from slpd.plots.style import short
from slpd.report.site import FigureBlock, Site, columns
from slpd.report.words import count, decimal
from slpd.settings.tables import Metric, Table
from slpd.tables.content import TITLES

MOST_GROUPS = 12  # in a figure: the largest; the CSV file has all
SIZE_COLUMNS = columns(["column", "group"], ["test cases", "patients"])
GAP_COLUMNS = columns(["column", "metric", "head", "variant", "lowest", "highest"], ["groups", "gap", "p"])


@dataclass(frozen=True)
class SubgroupResults:
    """The groups of a task, for the evaluations of a table."""

    figures: Sequence[SubgroupFigure]
    gaps: Sequence[SubgroupGap]

    def shown_in(self, table: Table) -> "SubgroupResults":
        """What belongs to a table: its variants, heads and metrics, in its order."""

        def place(line: SubgroupFigure | SubgroupGap) -> tuple[int, int]:
            return table.heads.index(line.head), table.variants.index(line.variant)

        def belongs(line: SubgroupFigure | SubgroupGap) -> bool:
            return line.head in table.heads and line.variant in table.variants and line.metric in table.metrics

        figures = sorted(filter(belongs, self.figures), key=place)
        return SubgroupResults(figures, sorted(filter(belongs, self.gaps), key=place))

    @property
    def columns(self) -> list[str]:
        """The columns that part the cases."""
        return list(dict.fromkeys(figure.column for figure in self.figures))


def subgroups_part(site: Site, prefix: str, table: Table, results: SubgroupResults) -> dict[str, Any]:
    """What the page shows, its figures written; nothing where no column parts the cases.

    Args:
        site: The report.
        prefix: Begins the names of files.
        table: The table.
        results: Groups of the task.
    """
    shown = results.shown_in(table)
    if not shown.figures:
        return {}
    csv = site.write_csv(f"{prefix}-subgroups", lines_of(results.figures))
    metric = next(name for name in table.metrics if any(figure.metric == name for figure in shown.figures))
    return {
        "figures": [block for name in shown.columns for block in column_figure(site, prefix, shown, name, metric, csv)],
        "size_columns": SIZE_COLUMNS,
        "sizes": list(size_rows(shown)),
        "csv": csv,
        "gap_columns": GAP_COLUMNS,
        "gaps": [gap_row(gap) for gap in shown.gaps],
        "gaps_csv": site.write_csv(f"{prefix}-subgroup-gaps", lines_of(results.gaps)) if results.gaps else "",
        "permutations": max((gap.n_permutations for gap in shown.gaps), default=0),
    }


def lines_of(rows: Sequence[SubgroupFigure] | Sequence[SubgroupGap]) -> list[list[object]]:
    """Lines of a CSV file."""
    return [list(asdict(rows[0])), *(list(asdict(row).values()) for row in rows)]


def column_figure(
    site: Site, prefix: str, shown: SubgroupResults, column: str, metric: Metric, csv: str
) -> Iterator[FigureBlock]:
    """A metric by group, a panel per head; nothing where no group has it."""
    of_column = [figure for figure in shown.figures if (figure.column, figure.metric) == (column, metric)]
    sizes = {figure.group: figure.n_patients for figure in of_column if not figure.why}
    groups = [group for group in sizes if group in sorted(sizes, key=lambda name: -sizes[name])[:MOST_GROUPS]]
    if not groups:
        return
    panels: dict[str, dict[str, list[Measured | None]]] = {}
    for figure in of_column:
        row = panels.setdefault(figure.head, {}).setdefault(figure.variant, [None] * len(groups))
        if figure.group in groups and not figure.why:
            row[groups.index(figure.group)] = Measured([], figure.value, figure.low, figure.high)
    drawing = draw_folds(panels, [short(group, f" ({sizes[group]})") for group in groups])
    title = TITLES[metric]
    about = f"{title} of test cases by {column}; in brackets patients, lines are intervals; a panel per head"
    about += f" (the {MOST_GROUPS} largest groups)" if len(sizes) > MOST_GROUPS else ""
    number = shown.columns.index(column)
    yield site.write_figure(f"{prefix}-subgroups-{number}", drawing, f"{title} by {column}", f"{about}.", csv)


def size_rows(shown: SubgroupResults) -> Iterator[list[Any]]:
    """Every group with its cases, those without figures with the reason."""
    firsts: dict[tuple[str, str], SubgroupFigure] = {}
    for figure in shown.figures:
        firsts.setdefault((figure.column, figure.group), figure)
    for (column, group), figure in firsts.items():
        small = figure.why if not group or figure.why.startswith("fewer") else ""
        name = f"{group or '(none)'}{f': {small}' if small else ''}"
        yield [column, name, count(figure.n_cases), count(figure.n_patients)]


def gap_row(gap: SubgroupGap) -> list[Any]:
    """A gap as a line."""
    names = [gap.column, TITLES[gap.metric], gap.head, gap.variant, gap.lowest, gap.highest]
    return [*names, count(gap.n_groups), decimal(gap.gap), decimal(gap.p_value)]

"""Puts a table together: cells of evaluations, published figures, comparisons, facts."""

from collections.abc import Mapping, Sequence

from slpd.artifacts.published import PublishedFigure
from slpd.settings.tables import Metric, Table
from slpd.tables.cells import Published
from slpd.tables.comparisons import comparisons_of
from slpd.tables.content import Row, TableContent
from slpd.tables.evaluations import Evaluation, Evaluations, by_names, cell_of, check_evaluation
from slpd.tables.facts import TaskFacts
from slpd.tables.published_figures import Figures, figures_of

Column = tuple[str, Metric]  # task, metric


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
        UserError: an evaluation that the table shows lacks a fold or a metric, or is there twice;
            two published figures are of one cell.
    """
    found = by_names(evaluations)
    variants = [variant for variant in table.variants if variant not in unavailable]
    for task in tasks:
        for head in table.heads:
            for variant in variants:
                check_evaluation(table, task, variant, head, found)
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    figures, sources = figures_of(table, published)
    rows = rows_of(table, columns, tasks, found, unavailable, figures)
    comparisons = comparisons_of(tasks, table.metrics, table.heads, variants, found, level)
    return TableContent(table.name, table.caption, columns, rows, list(tasks), found, comparisons, sources, level)


def rows_of(
    table: Table,
    columns: Sequence[Column],
    tasks: Sequence[TaskFacts],
    evaluations: Evaluations,
    unavailable: Mapping[str, str],
    figures: Figures,
) -> list[Row]:
    """A row per head and variant."""
    facts = {task.task: task for task in tasks}
    beside = {(task, metric) for task, _, _, metric in figures}  # columns with published figures
    return [
        Row(
            head,
            variant,
            [cell_of(facts[task], variant, head, metric, evaluations, unavailable) for task, metric in columns],
            [
                figures.get((task, variant, head, metric), Published()) if (task, metric) in beside else None
                for task, metric in columns
            ],
        )
        for head in table.heads
        for variant in table.variants
    ]

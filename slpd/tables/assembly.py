"""Puts a table together: cells of evaluations, published figures, comparisons, facts."""

from collections.abc import Mapping, Sequence

from slpd.artifacts.outside.published import PublishedFigure
from slpd.settings.tables import Metric, Table
from slpd.tables.cells import Published
from slpd.tables.comparisons import comparisons_of
from slpd.tables.content import Row, TableContent
from slpd.tables.evaluations import (
    Evaluation,
    Evaluations,
    Repeats,
    cell_of,
    check_evaluations,
    evaluations_by_name,
)
from slpd.tables.facts import TaskFacts
from slpd.tables.published_figures import PublishedCells, published_cells

Column = tuple[str, Metric]  # task, metric


def table_content(
    table: Table,
    evaluations: Sequence[Evaluation],
    tasks: Sequence[TaskFacts],
    unavailable: Mapping[str, str],
    published: Sequence[PublishedFigure],
    level: float,
    repeats: Repeats,
) -> TableContent:
    """The content of a table.

    Args:
        table: Rows and columns wanted.
        evaluations: Every evaluation; may hold more than the table shows.
        tasks: Facts of each task of the table, in its order.
        unavailable: Variant -> why no evaluation of it can be made.
        published: Published figures; may hold more than the table shows.
        level: Confidence level of comparisons, and of intervals over seeds.
        repeats: Names of variants that are trained with several seeds.

    Raises:
        UserError: an evaluation that the table shows lacks a fold or a metric, or is there twice;
            two published figures are of one cell.
    """
    by_name = evaluations_by_name(evaluations, repeats)
    variants = [variant for variant in table.variants if variant not in unavailable]
    for task in tasks:
        for head in table.heads:
            for variant in variants:
                check_evaluations(table, task, variant, head, by_name, repeats)
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    published_of, sources = published_cells(table, published)
    rows = table_rows(table, columns, tasks, by_name, unavailable, published_of, level)
    comparisons = comparisons_of(tasks, table.metrics, table.heads, variants, by_name, level)
    return TableContent(table.name, table.caption, columns, rows, list(tasks), by_name, comparisons, sources, level)


def table_rows(
    table: Table,
    columns: Sequence[Column],
    tasks: Sequence[TaskFacts],
    evaluations: Evaluations,
    unavailable: Mapping[str, str],
    published_of: PublishedCells,
    level: float,
) -> list[Row]:
    """A row per head and variant."""
    facts = {task.task: task for task in tasks}
    with_published = {(task, metric) for task, _, _, metric in published_of}  # columns with published figures
    return [
        Row(
            head,
            variant,
            [cell_of(facts[task], variant, head, metric, evaluations, unavailable, level) for task, metric in columns],
            [
                published_of.get((task, variant, head, metric), Published())
                if (task, metric) in with_published
                else None
                for task, metric in columns
            ],
        )
        for head in table.heads
        for variant in table.variants
    ]

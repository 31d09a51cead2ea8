"""Published figures in the cells of a table, and the list of their sources."""

import math
from collections.abc import Sequence

from slpd.artifacts.outside.published import PublishedFigure
from slpd.errors import UserError
from slpd.settings.tables import Table
from slpd.tables.cells import Published

CellKey = tuple[str, str, str, str]  # task, variant, head, metric
PublishedCells = dict[CellKey, Published]


def published_cells(table: Table, published: Sequence[PublishedFigure]) -> tuple[PublishedCells, list[str]]:
    """The published figures of the table's cells, and their sources in order of appearance."""
    entries = entries_of(table, published)
    sources = list(dict.fromkeys(entry.source for entry in entries.values() if entry.value is not None))
    return {cell: published_cell(entry, sources) for cell, entry in entries.items()}, sources


def entries_of(table: Table, published: Sequence[PublishedFigure]) -> dict[CellKey, PublishedFigure]:
    """The entry of each cell: a figure, or the first place that is marked for one."""
    entries: dict[CellKey, PublishedFigure] = {}
    for entry in published:
        if not (entry.task in table.tasks and entry.variant in table.variants and entry.head in table.heads):
            continue
        cell = (entry.task, entry.variant, entry.head, entry.metric)
        other = entries.get(cell)
        if other and other.value is not None and entry.value is not None:
            raise UserError(
                f"table {table.name}: {', '.join(cell)} is published twice ({other.file}, line {other.line};"
                f" {entry.file}, line {entry.line}); keep one line"
            )
        if other is None or entry.value is not None:
            entries[cell] = entry
    return entries


def published_cell(entry: PublishedFigure, sources: Sequence[str]) -> Published:
    """What a cell says of an entry."""
    if entry.value is None:
        return Published(why=f"to be filled in: {entry.file}")
    std = math.nan if entry.std is None else entry.std
    return Published(entry.value, std, sources.index(entry.source) + 1, "")

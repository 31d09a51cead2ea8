"""A table as Markdown that also reads well in a terminal: aligned columns, wrapped text."""

import re
import textwrap
from collections.abc import Sequence

from slpd.tables.content import TableContent

WIDTH = 110  # characters of a line of text


def as_markdown(content: TableContent) -> str:
    """The caption, the table, then legend, facts of each task and left-out slides."""
    header = ["head", "variant", *(f"{task} {title}" for task, title in content.printed)]
    cells = [
        [row.head, row.variant, *(bold(escape(cell.text), cell.is_best) for cell in content.printed_cells(row))]
        for row in content.rows
    ]
    blocks = [wrap(escape(content.caption)), aligned(header, cells), wrap(escape(content.legend))]
    if content.sources:
        blocks.append("\n".join(["Published:", "", *(wrap(escape(text), "- ") for text in content.source_texts)]))
    for task in content.tasks:
        blocks.append(wrap(escape(task.text)))
        if task.left_out:
            items = [wrap(escape(item), "- ") for item in task.left_out_texts]
            blocks.append("\n".join(["Left out:", "", *items]))
    return "\n\n".join(blocks) + "\n"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table whose columns are as wide as their widest cell."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def bold(text: str, best: bool) -> str:
    """The text, marked if it is the best of its column."""
    return f"**{text}**" if best else text


def wrap(text: str, bullet: str = "") -> str:
    """The text in lines of WIDTH characters; words are never cut."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


def escape(text: str) -> str:
    """The text with a backslash before every character that Markdown would take for markup.

    An underscore inside a word is no markup, so names stay readable in a terminal.
    """
    return re.sub(r"([\\`*<>\[\]|#&~])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)

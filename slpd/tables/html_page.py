"""A table as a self-contained HTML page, for the report."""

from html import escape
from itertools import groupby

from slpd.tables.cells import PrintedCell
from slpd.tables.content import TableContent
from slpd.tables.facts import TaskFacts

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em; max-width: 70em; color: #222; }}
table {{ border-collapse: collapse; margin: 1em 0; border-top: 2px solid #222; border-bottom: 2px solid #222; }}
th, td {{ padding: .3em .9em; text-align: left; font-variant-numeric: tabular-nums; white-space: nowrap; }}
td.why {{ white-space: normal; max-width: 14em; color: #666; font-size: .85em; }}
thead tr:last-child th {{ border-bottom: 1px solid #222; }}
thead th[colspan] {{ text-align: center; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def as_html(content: TableContent) -> str:
    """The caption, the table, then legend, facts of each task and left-out slides."""
    rows = []
    for row in content.rows:
        names = f"<td>{escape(row.head)}</td><td>{escape(row.variant)}</td>"
        rows.append(f"<tr>{names}{''.join(map(cell_tag, content.printed_cells(row)))}</tr>")
    body = [
        f"<h1>{escape(content.caption)}</h1>",
        *("<table>", "<thead>", *header(content), "</thead>", "<tbody>", *rows, "</tbody>", "</table>"),
        f"<p>{escape(content.legend)}</p>",
        *(f"<p>Published {escape(text)}</p>" for text in content.source_texts),
        *map(facts, content.tasks),
    ]
    return PAGE.format(title=escape(content.caption), body="\n".join(body))


def header(content: TableContent) -> list[str]:
    """Two header lines, tasks over metrics."""
    tasks = [
        f'<th colspan="{len(list(group))}">{escape(task)}</th>'
        for task, group in groupby(content.printed, key=lambda column: column[0])
    ]
    metrics = [f"<th>{escape(title)}</th>" for _, title in content.printed]
    names = '<th rowspan="2">head</th><th rowspan="2">variant</th>'
    return [f"<tr>{names}{''.join(tasks)}</tr>", f"<tr>{''.join(metrics)}</tr>"]


def cell_tag(cell: PrintedCell) -> str:
    """A cell; reasons may break into lines."""
    return f"<td{' class=why' if cell.is_reason else ''}>{bold(escape(cell.text), cell.is_best)}</td>"


def facts(task: TaskFacts) -> str:
    """The facts of a task and its left-out slides."""
    text = f"<p>{escape(task.text)}</p>"
    if not task.left_out:
        return text
    items = "".join(f"<li>{escape(item)}</li>" for item in task.left_out_texts)
    return f"{text}\n<p>Left out:</p>\n<ul>{items}</ul>"


def bold(text: str, best: bool) -> str:
    """The text, bold if it is the best of its column."""
    return f"<strong>{text}</strong>" if best else text

"""Collect evaluations into a table, as CSV, Markdown, LaTeX and HTML, and the paired differences of its variants."""

import argparse
import json
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.errors import UserError
from slpd.settings.evaluation import Intervals, task_from_json
from slpd.settings.tables import Table
from slpd.tables.csv_table import as_csv, differences_as_csv
from slpd.tables.html_page import as_html
from slpd.tables.latex import as_latex
from slpd.tables.markdown import as_markdown
from slpd.tables.sources import TaskFiles, read_table_content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--table", required=True, help="the table (JSON)")
    parser.add_argument("--settings", required=True, help="section intervals of the config (JSON)")
    parser.add_argument("--unavailable", required=True, help="variant -> why there are no evaluations of it (JSON)")
    parser.add_argument("--repeats", default="{}", help="variant -> its names under every seed of pretraining (JSON)")
    parser.add_argument(
        "--evaluations", type=Path, nargs="*", required=True, help="folders of evaluations: metrics.csv, intervals.csv"
    )
    parser.add_argument("--tasks", nargs="+", required=True, help="each task of the table (JSON)")
    parser.add_argument("--folds", type=Path, nargs="+", required=True, help="folds of each task, in the same order")
    parser.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="manifest of each task's cohort, in the same order"
    )
    parser.add_argument(
        "--test-manifests", default="{}", help="task -> manifest of its test cohort, for tasks that have one (JSON)"
    )
    parser.add_argument(
        "--absent", type=Path, nargs="+", required=True, help="not_in_folds.csv of each task, in the same order"
    )
    parser.add_argument(
        "--without-vectors", default="{}", help="task -> variant -> [not_in_bags.csv] of vectors made elsewhere (JSON)"
    )
    parser.add_argument("--differences", type=Path, required=True, help="paired differences of variants to write (CSV)")
    for suffix in ("csv", "markdown", "latex", "html"):
        parser.add_argument(f"--{suffix}", type=Path, required=True, help=f"the table as {suffix}, to write")


def run(args: argparse.Namespace) -> None:
    """Read evaluations, folds, manifests and published figures, make the table, write it in every format."""
    table, level = Table.from_json(args.table), Intervals.from_json(args.settings).level
    unavailable, repeats = json.loads(args.unavailable), json.loads(args.repeats)
    content = read_table_content(table, args.evaluations, task_files(table, args), unavailable, level, repeats)
    write_text(args.csv, as_csv(content))
    write_text(args.differences, differences_as_csv(content))
    write_text(args.markdown, as_markdown(content))
    write_text(args.latex, as_latex(content))
    write_text(args.html, as_html(content))


def task_files(table: Table, args: argparse.Namespace) -> list[TaskFiles]:
    """The files of each task of the table."""
    tasks, folds, manifests, absent = args.tasks, args.folds, args.manifests, args.absent
    if not len(table.tasks) == len(tasks) == len(folds) == len(manifests) == len(absent):
        raise UserError(
            f"table {table.name}: {len(table.tasks)} tasks, but {len(tasks)} --tasks, {len(folds)} --folds,"
            f" {len(manifests)} --manifests and {len(absent)} --absent; give one of each per task, in the order of the"
            " table's tasks"
        )
    without = {
        task: {variant: list(map(Path, paths)) for variant, paths in files.items()}
        for task, files in json.loads(args.without_vectors).items()
    }
    external = {task: [Path(path)] for task, path in json.loads(args.test_manifests).items()}
    return [
        TaskFiles(task, of_task, [manifest, *external.get(task.name, [])], not_in_folds, without.get(task.name, {}))
        for task, of_task, manifest, not_in_folds in zip(
            map(task_from_json, tasks), folds, manifests, absent, strict=True
        )
    ]

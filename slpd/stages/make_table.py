"""Collect evaluations into a table, as CSV, Markdown, LaTeX and HTML."""

import argparse
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.fold_metrics import read_fold_metrics
from slpd.artifacts.folds import read_folds
from slpd.artifacts.manifest import read_manifest
from slpd.errors import UserError
from slpd.settings.evaluation import Table
from slpd.tables.content import TaskFacts, table_content, task_facts
from slpd.tables.csv_table import as_csv
from slpd.tables.html_page import as_html
from slpd.tables.latex import as_latex
from slpd.tables.markdown import as_markdown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--table", required=True, help="the table (JSON)")
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics of every evaluation (CSV)")
    parser.add_argument("--folds", type=Path, nargs="+", required=True, help="folds of each task of the table (CSV)")
    parser.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="manifest of each task's cohort, in the same order"
    )
    for suffix in ("csv", "markdown", "latex", "html"):
        parser.add_argument(f"--{suffix}", type=Path, required=True, help=f"the table as {suffix}, to write")


def run(args: argparse.Namespace) -> None:
    """Read evaluations, folds and manifests, make the table, write it in every format."""
    table = Table.from_json(args.table)
    metrics = [fold for path in args.metrics for fold in read_fold_metrics(path)]
    content = table_content(table, metrics, read_task_facts(table, args.folds, args.manifests))
    write_text(args.csv, as_csv(content))
    write_text(args.markdown, as_markdown(content))
    write_text(args.latex, as_latex(content))
    write_text(args.html, as_html(content))


def read_task_facts(table: Table, folds: list[Path], manifests: list[Path]) -> list[TaskFacts]:
    """The facts of each task of the table."""
    if not len(table.tasks) == len(folds) == len(manifests):
        raise UserError(
            f"table {table.name}: {len(table.tasks)} tasks, but {len(folds)} --folds and {len(manifests)} --manifests;"
            " give one of each per task, in the order of the table's tasks"
        )
    return [
        task_facts(task, read_folds(fold), read_manifest(manifest))
        for task, fold, manifest in zip(table.tasks, folds, manifests, strict=True)
    ]

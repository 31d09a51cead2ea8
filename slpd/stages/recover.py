"""After a killed run: wait for its jobs (or cancel them) and remove its lock, so that it can start again (no rule)."""

import argparse
from pathlib import Path

from slpd.slurm.head import forget_head
from slpd.slurm.orphans import recover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--folder", type=Path, default=Path(), help="where the workflow runs")
    parser.add_argument("--cancel", action="store_true", help="cancel its jobs instead of waiting for them")
    parser.add_argument(
        "--head-is-gone", action="store_true", help="the run was started elsewhere, and has ended there"
    )


def run(args: argparse.Namespace) -> None:
    """Recover the folder."""
    folder = args.folder.resolve()
    if args.head_is_gone:
        forget_head(folder)
    recover(folder, args.cancel)

"""After a killed run: wait for its jobs (or cancel them) and remove its lock, so that it can start again (no rule)."""

import argparse
from pathlib import Path

from slpd.slurm.head import forget_head
from slpd.slurm.jobs import has_slurm
from slpd.slurm.orphans import recover, refuse_orphans


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--folder", type=Path, default=Path(), help="where the workflow runs")
    parser.add_argument("--cancel", action="store_true", help="cancel its jobs instead of waiting for them")
    parser.add_argument(
        "--head-is-gone", action="store_true", help="the run was started elsewhere, and has ended there"
    )
    parser.add_argument("--check", action="store_true", help="only fail if jobs of an earlier run are active")


def run(args: argparse.Namespace) -> None:
    """Recover the folder, or only check it."""
    folder = args.folder.resolve()
    if args.check:
        if has_slurm():
            refuse_orphans(folder)
        return
    if args.head_is_gone:
        forget_head(folder)
    recover(folder, args.cancel)

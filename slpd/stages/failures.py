"""Say why jobs failed on the cluster: time, memory, exit status or signal, and the log's last words (no rule)."""

import argparse
from pathlib import Path

from slpd.slurm.failures import LOGS, failures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--logs", type=Path, default=LOGS, help="slurm-logdir of the profile")
    parser.add_argument("--since", type=float, default=0.0, help="only jobs that ended after (seconds since the epoch)")


def run(args: argparse.Namespace) -> None:
    """Print a line per failed job."""
    found = failures(args.logs, args.since)
    print("\n".join(map(str, found)) if found else f"no job failed or was refused, as far as {args.logs} tells")

"""Draw the loss curves of a cohort: one curve per variant, from the warm-up through all iterations."""

import argparse
from itertools import chain
from pathlib import Path

import matplotlib

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.training_metrics import read_metrics
from slpd.plots.losses import draw_losses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `plot_losses`."""
    parser.add_argument(
        "--curve",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "METRICS"),
        help="a variant's name, then its metrics files (.csv) in order: of the warm-up, its own; repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, help="figure to write (.svg)")


def run(args: argparse.Namespace) -> None:
    """Draw; equal metrics give equal bytes."""
    curves = {name: list(chain(*(read_metrics(Path(path)) for path in paths))) for name, *paths in args.curve}
    matplotlib.rcParams["svg.hashsalt"] = "slpd"
    with atomic_path(args.out) as temporary:
        draw_losses(curves).savefig(temporary, metadata={"Date": None})

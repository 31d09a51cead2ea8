"""Take the mean of a region's patch tokens as its vector, in place of a region encoder: one bag per slide."""

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.bags import write_bags
from slpd.artifacts.manifest import used_slides
from slpd.artifacts.tokens import open_tokens, read_coords
from slpd.errors import UserError

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `pool_tokens`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Read the tokens of every used slide, region by region, and write their means."""
    paths = {row.record.slide: row.tokens for row in used_slides(args.manifest) if row.tokens}
    if not paths:
        raise UserError(f"{args.manifest}: no slide is used; see the reasons in its status and reason columns")
    bags = {slide: mean_tokens(path) for slide, path in paths.items()}
    refuse_two_widths(bags)
    write_bags(args.out, bags, {slide: read_coords(path) for slide, path in paths.items()})
    log.info("%d regions of %d slides, means of their patch tokens", sum(map(len, bags.values())), len(bags))


def mean_tokens(path: Path) -> NDArray[np.float32]:
    """The mean token of each region of a slide, (N, D), summed in float32; one region is in memory at a time."""
    with open_tokens(path) as file:
        features = file["features"]  # (N, P, D) float16
        means = np.empty((features.shape[0], features.shape[2]), np.float32)
        for region in range(len(means)):
            means[region] = features[region].mean(axis=0, dtype=np.float32)
    return means


def refuse_two_widths(bags: dict[str, NDArray[np.float32]]) -> None:
    """Refuse tokens of two encoders in one cohort."""
    first = next(iter(bags))
    for slide, bag in bags.items():
        if bag.shape[1] != bags[first].shape[1]:
            raise UserError(
                f"slide {slide}: tokens of {bag.shape[1]} values, those of slide {first} have {bags[first].shape[1]};"
                " run with --forcerun encode_patches"
            )

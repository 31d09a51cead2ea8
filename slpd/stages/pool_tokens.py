"""Take the mean of a region's patch tokens as its vector, instead of a region encoder: one bag per slide."""

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens, open_cohort_tokens, read_cohort_coords

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `pool_tokens`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Read the tokens of every used slide and write the means of its regions."""
    cohort = open_cohort_tokens(args.manifest)
    bags = {name: mean_tokens(cohort, slide) for slide, name in enumerate(cohort.slides)}
    write_bags(args.out, bags, read_cohort_coords(args.manifest))
    log.info("%d regions of %d slides, means of their patch tokens", cohort.n_regions, len(bags))


def mean_tokens(cohort: CohortTokens, slide: int) -> NDArray[np.float32]:
    """The mean of each region's tokens that are present, (n, D), summed in float32; one region is held at a time."""
    n_regions = int(cohort.offsets[slide + 1] - cohort.offsets[slide])
    means = np.empty((n_regions, cohort.width), np.float32)
    for region in range(n_regions):
        (tokens,) = cohort.read_slide(slide, np.array([region]))  # (grid, grid, D)
        present = ... if cohort.present is None else cohort.present[cohort.offsets[slide] + region]
        means[region] = tokens[present].reshape(-1, cohort.width).mean(axis=0, dtype=np.float32)
    return means

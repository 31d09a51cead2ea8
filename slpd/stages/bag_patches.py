"""Take every patch token of a slide as an instance of its bag, instead of a vector per region."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.bags import write_patch_bags
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens, open_cohort_tokens, read_cohort_coords
from slpd.artifacts.patch_tokens.token_file import read_source

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `bag_patches`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Write the tokens of the patches that there are, slide after slide."""
    cohort, corners = open_cohort_tokens(args.manifest), read_cohort_coords(args.manifest)
    counts = {name: int(present_in(cohort, slide).sum()) for slide, name in enumerate(cohort.slides)}
    write_patch_bags(args.out, counts, cohort.width, bags_of(cohort, corners))
    log.info("%d patches of %d slides, %d values each", sum(counts.values()), len(counts), cohort.width)


def bags_of(
    cohort: CohortTokens, corners: dict[str, NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.float16], NDArray[np.int64]]]:
    """Of each slide the (n, D) tokens and (n, 2) upper left corners of its patches, region by region."""
    for slide, name in enumerate(cohort.slides):
        present = present_in(cohort, slide)
        tokens = cohort.read_slide(slide, np.arange(len(present)))
        yield (
            tokens[present],
            patch_corners(corners[name], read_source(cohort.paths[slide]).region_lv0, cohort.grid)[present],
        )


def present_in(cohort: CohortTokens, slide: int) -> NDArray[np.bool_]:
    """Which patches of a slide's regions there are, (n, grid, grid)."""
    start, stop = cohort.offsets[slide : slide + 2].tolist()
    if cohort.present is None:
        return np.ones((stop - start, cohort.grid, cohort.grid), bool)
    return cohort.present[start:stop]


def patch_corners(corners: NDArray[np.int64], region_lv0: int | None, grid: int) -> NDArray[np.int64]:
    """The upper left corners of the patches of n regions, (n, grid, grid, 2); -1 where they are unknown.

    Args:
        corners: (n, 2) of the regions, level-0 px.
        region_lv0: Side of a region, level-0 px; None: unknown.
        grid: Patches along a region's side.
    """
    if region_lv0 is None:
        return np.full((len(corners), grid, grid, 2), -1, np.int64)
    steps = np.round(np.arange(grid) * region_lv0 / grid).astype(np.int64)
    columns, rows = np.meshgrid(steps, steps)  # patches are stored row by row
    places = corners[:, None, None] + np.stack([columns, rows], axis=-1)
    return np.where(corners[:, None, None] < 0, -1, places)

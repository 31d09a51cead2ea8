"""Lay the region grid over the tissue of one slide: region table, overlay, status record."""

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.mask import read_mask
from slpd.artifacts.picture import read_picture, write_picture
from slpd.artifacts.regions import Region, write_regions
from slpd.artifacts.slide_record import SlideRecord, read_record
from slpd.errors import SlideError
from slpd.geometry.read_plan import fine_enough
from slpd.geometry.regions import region_size_lv0, tissue_shares
from slpd.plots.overlay import draw_message, draw_outline, draw_regions
from slpd.settings.slides import Regions

log = logging.getLogger(__name__)

ROUNDING = 1e-9  # a share is a sum of thousands of products: full tissue may come out as 1 - 1e-12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--record", type=Path, required=True, help="status record of segment_tissue")
    parser.add_argument("--mask", type=Path, required=True, help="tissue mask")
    parser.add_argument("--thumbnail", type=Path, required=True, help="thumbnail of the slide")
    parser.add_argument("--settings", required=True, help="config section `regions` as JSON")
    parser.add_argument("--regions", type=Path, required=True, help="region table to write (CSV)")
    parser.add_argument("--overlay", type=Path, required=True, help="thumbnail with outline and regions to write")
    parser.add_argument("--out-record", type=Path, required=True, help="status record to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Tile the slide; a slide that cannot be used gets a record that says why."""
    settings = Regions.from_json(args.settings)
    record = read_record(args.record)
    regions: list[Region] = []
    if record.status == "ok":
        mask = read_mask(args.mask)
        try:
            record, regions, rejected = tile(record, mask, settings)
            overlay = draw(read_picture(args.thumbnail), mask, record, regions, rejected)
            log.info("%s: %d regions, %d rejected", record.slide, len(regions), len(rejected))
        except SlideError as error:
            log.warning("left out: %s", error)
            record = record.failed("tile_regions", str(error))
    if record.status == "failed":
        overlay = draw_message(record.reason)
    write_regions(args.regions, regions)
    write_picture(args.overlay, overlay)
    record.write(args.out_record)


def tile(
    record: SlideRecord, mask: NDArray[np.bool_], settings: Regions
) -> tuple[SlideRecord, list[Region], list[tuple[int, int]]]:
    """The slide's completed record, its regions, and the grid places with some but too little tissue.

    Raises:
        SlideError: the slide is too coarse or too small, or no region has enough tissue.
    """
    assert record.slide_mpp and record.width_lv0 and record.height_lv0, "segment_tissue fills these"
    if not fine_enough(record.slide_mpp, settings.mpp):
        raise SlideError(
            f"slide {record.slide}: {record.slide_mpp:g} µm/px is coarser than the {settings.mpp:g} µm/px asked for;"
            " leave it out or raise regions.mpp"
        )
    region_lv0 = region_size_lv0(settings.region_px, settings.mpp, record.slide_mpp)
    shares = tissue_shares(mask, record.width_lv0, record.height_lv0, region_lv0)  # (rows, columns)
    if not shares.size:
        raise SlideError(
            f"slide {record.slide}: {record.width_lv0} x {record.height_lv0} px is smaller than one region"
            f" of {region_lv0} px ({settings.region_px * settings.mpp:g} µm); leave it out or lower regions.region_px"
        )
    enough = shares >= settings.min_tissue - ROUNDING
    if not enough.any():
        raise SlideError(
            f"slide {record.slide}: no region has a tissue share of regions.min_tissue {settings.min_tissue:g};"
            f" the best of {shares.size} has {shares.max():.3f}"
        )
    regions = [
        Region(row, column, column * region_lv0, row * region_lv0, float(shares[row, column]))
        for row, column in np.argwhere(enough).tolist()
    ]
    rejected = [(row, column) for row, column in np.argwhere((shares > 0) & ~enough).tolist()]
    found = {
        "region_px": settings.region_px,
        "region_lv0": region_lv0,
        "requested_mpp": settings.mpp,
        "n_regions": len(regions),
        "n_rejected": len(rejected),
    }
    return record.model_copy(update=found), regions, rejected


def draw(
    thumbnail: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    record: SlideRecord,
    regions: list[Region],
    rejected: list[tuple[int, int]],
) -> NDArray[np.uint8]:
    """The overlay: outline of the tissue, regions used and rejected."""
    assert record.region_lv0 and record.width_lv0, "tile fills these"
    picture = draw_outline(thumbnail, mask)
    side = record.region_lv0 * picture.shape[1] / record.width_lv0
    return draw_regions(picture, [(region.row, region.column) for region in regions], rejected, side)

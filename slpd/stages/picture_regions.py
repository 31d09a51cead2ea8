"""Take a small picture of every region of a slide, all on one sheet, from a coarse level of its pyramid."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from slpd.artifacts.slides.picture import write_picture
from slpd.artifacts.slides.region_pictures import n_columns
from slpd.artifacts.slides.region_table import Region, read_regions
from slpd.artifacts.slides.slide_record import SlideRecord, read_record
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import plan_read
from slpd.plots.contact_sheet import draw_region_sheet
from slpd.plots.overlay import Picture, draw_message
from slpd.wsi import Slide, UnreadableRegion

log = logging.getLogger(__name__)

LARGEST_JPEG_PX = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--record", type=Path, required=True, help="status record of tile_regions")
    parser.add_argument("--regions", type=Path, required=True, help="region table")
    parser.add_argument("--picture-px", type=int, required=True, help="side of a region's picture, pixels")
    parser.add_argument("--out", type=Path, required=True, help="sheet to write (JPEG)")


def run(args: argparse.Namespace) -> None:
    """Take the pictures; for a slide that cannot be used, draw the reason."""
    record, regions = read_record(args.record), read_regions(args.regions)
    if record.status == "failed":
        write_picture(args.out, draw_message(record.reason))
        return
    refuse_too_large(record.slide, len(regions), args.picture_px)
    try:
        sheet = draw_region_sheet(pictures(record, regions, args.picture_px), len(regions), args.picture_px)
        log.info("%s: %d regions", record.slide, len(regions))
    except SlideError as error:
        log.warning("no pictures: %s", error)
        sheet = draw_message(str(error))
    write_picture(args.out, sheet)


def pictures(record: SlideRecord, regions: list[Region], picture_px: int) -> Iterator[Picture | None]:
    """The picture of each region; None for one that cannot be read.

    Raises:
        SlideError: the slide cannot be opened, or the process that reads it crashed.
    """
    assert record.slide_mpp and record.region_lv0, "tile_regions fills these"
    with Slide(record.slide, Path(record.path), record.slide_mpp, reader="openslide") as slide:
        plan = plan_read(slide.mpp, slide.downsamples, slide.mpp * record.region_lv0 / picture_px, picture_px)
        corners = [(region.x_lv0, region.y_lv0) for region in regions]
        for pixels in slide.read_regions(corners, plan):
            if isinstance(pixels, UnreadableRegion):
                log.warning("%s: no picture at x %d, y %d: %s", slide.name, pixels.x_lv0, pixels.y_lv0, pixels.reason)
                yield None
            else:
                yield pixels


def refuse_too_large(slide: str, n_regions: int, picture_px: int) -> None:
    """Refuse a sheet that no JPEG can hold."""
    width = n_columns(n_regions) * picture_px
    if width > LARGEST_JPEG_PX:
        raise UserError(
            f"slide {slide}: a sheet of {n_regions} regions would be {width} px wide, a JPEG can have"
            f" {LARGEST_JPEG_PX}; lower report.picture_px (it is {picture_px})"
        )

"""Take a small picture of every region of a slide, all on one sheet, from a coarse level; for a batch of slides."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from slpd.artifacts.disk import raise_if_slide_away
from slpd.artifacts.slides.finished_slide import FinishedSlide, read_batch, write_batch
from slpd.artifacts.slides.picture import write_picture
from slpd.artifacts.slides.region_pictures import n_columns
from slpd.artifacts.slides.region_table import Region, read_regions
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import plan_read
from slpd.layout import PICTURES, REGIONS
from slpd.plots.contact_sheet import draw_region_sheet
from slpd.plots.overlay import Picture, draw_message
from slpd.slide_work import SlideWork, fingerprint_of, finish_slides
from slpd.wsi import Slide, UnreadableRegion

log = logging.getLogger(__name__)

LARGEST_JPEG_PX = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--records", type=Path, required=True, help="the batch's records of tile_regions (JSON)")
    parser.add_argument("--regions", type=Path, required=True, help="folder of the slides' region tables")
    parser.add_argument("--picture-px", type=int, required=True, help="side of a region's picture, pixels")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--threads", type=int, required=True, help="slides at a time")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the slides' sheets")
    parser.add_argument("--out", type=Path, required=True, help="what is known of the slides, to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Take the pictures of the slides that are not done."""

    def work(before: FinishedSlide) -> SlideWork:
        shaping, slide = fingerprint_of(before.fingerprint, args.picture_px, args.version), before.record.slide
        table, out = args.regions / REGIONS.format(slide=slide), args.folder / PICTURES.format(slide=slide)
        return SlideWork(slide, shaping, lambda: picture_slide(before.record, table, args.picture_px, out))

    batch = [work(before) for before in read_batch(args.records)]
    write_batch(args.out, finish_slides(batch, args.folder, args.threads))


def picture_slide(record: SlideRecord, table: Path, picture_px: int, out: Path) -> SlideRecord:
    """Take the pictures of a slide, and give back its record; for a slide that cannot be used, draw the reason.

    Args:
        record: Its record of tile_regions.
        table: Its region table.
        picture_px: Side of a region's picture.
        out: The sheet.
    """
    if record.status == "failed":
        write_picture(out, draw_message(record.reason))
        return record
    regions = read_regions(table)
    refuse_too_large(record.slide, len(regions), picture_px)
    try:
        sheet = draw_region_sheet(pictures(record, regions, picture_px), len(regions), picture_px)
        log.info("%s: %d regions", record.slide, len(regions))
    except SlideError as error:
        raise_if_slide_away(Path(record.path), error)
        log.warning("no pictures: %s", error)
        sheet = draw_message(str(error))
        record = record.failed("picture_regions", str(error))
    write_picture(out, sheet)
    return record


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
                raise_if_slide_away(slide.path, SlideError(pixels.reason))
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

"""Find the tissue of one slide: mask, thumbnail, overlay, status record."""

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.mask import NO_TISSUE, write_mask
from slpd.artifacts.picture import write_picture
from slpd.artifacts.slide_record import SlideRecord
from slpd.errors import SlideError
from slpd.plots.overlay import draw_message, draw_outline
from slpd.settings.slides import Tissue
from slpd.tissue import find_tissue
from slpd.wsi import Slide

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--slide", required=True, help="slide id")
    parser.add_argument("--path", required=True, help="slide file")
    parser.add_argument("--mpp", required=True, help="µm per level-0 pixel; empty: as the file states")
    parser.add_argument("--settings", required=True, help="config section `tissue` as JSON")
    parser.add_argument("--mask", type=Path, required=True, help="tissue mask to write (PNG)")
    parser.add_argument("--thumbnail", type=Path, required=True, help="thumbnail to write (JPEG)")
    parser.add_argument("--overlay", type=Path, required=True, help="thumbnail with the tissue's outline to write")
    parser.add_argument("--record", type=Path, required=True, help="status record to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Segment the slide; a slide that cannot be used gets a record that says why."""
    settings = Tissue.from_json(args.settings)
    record = SlideRecord(slide=args.slide, path=args.path)
    try:
        record, thumbnail, mask = segment(record, float(args.mpp) if args.mpp else None, settings)
        overlay = draw_outline(thumbnail, mask)
        log.info("%s: %.1f mm² of tissue", record.slide, record.tissue_mm2)
    except SlideError as error:
        log.warning("left out: %s", error)
        record = record.failed("segment_tissue", str(error))
        mask, thumbnail = NO_TISSUE, draw_message(str(error))
        overlay = thumbnail
    write_mask(args.mask, mask)
    write_picture(args.thumbnail, thumbnail)
    write_picture(args.overlay, overlay)
    record.write(args.record)


def segment(
    record: SlideRecord, sheet_mpp: float | None, settings: Tissue
) -> tuple[SlideRecord, NDArray[np.uint8], NDArray[np.bool_]]:
    """The slide's completed record, its (h, w, 3) thumbnail and its (h, w) tissue mask.

    Raises:
        SlideError: the slide cannot be read, has no credible resolution, or shows no tissue.
    """
    with Slide(record.slide, Path(record.path), sheet_mpp) as slide:
        thumbnail = slide.thumbnail(settings.mpp)
        mask = find_tissue(thumbnail, settings.mpp, settings.min_area_mm2, settings.min_hole_mm2)
        if not mask.any():
            raise SlideError(f"slide {record.slide}: no tissue of {settings.min_area_mm2:g} mm² or more; look at it")
        found = {
            "reader": slide.reader,
            "width_lv0": slide.width_lv0,
            "height_lv0": slide.height_lv0,
            "slide_mpp": slide.mpp,
            "mpp_source": slide.mpp_source,
            "tissue_mpp": settings.mpp,
            "tissue_mm2": round(float(mask.sum()) * (settings.mpp / 1000) ** 2, 4),
        }
    return record.model_copy(update=found), thumbnail, mask

"""Find the tissue of a batch of slides: mask, thumbnail, overlay and status record of each."""

import argparse
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.disk import raise_if_slide_away
from slpd.artifacts.slides.finished_slide import write_batch
from slpd.artifacts.slides.mask import NOTHING, Ground, write_mask
from slpd.artifacts.slides.picture import write_picture
from slpd.artifacts.slides.slide_files import hash_of_ends, readable_files
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import SlideError
from slpd.layout import MASK, OVERLAY, THUMBNAIL
from slpd.plots.overlay import Picture, draw_message, draw_outlines, with_caption
from slpd.settings.slides import Tissue
from slpd.slide_work import SlideWork, fingerprint_of, finish_slides
from slpd.tissue import survey, why_no_stain
from slpd.wsi import Slide

log = logging.getLogger(__name__)

MPP_TOLERANCE = 0.05  # relative difference above which the resolutions of sheet and file are in conflict


@dataclass(frozen=True)
class GivenSlide:
    """What the sheet says of a slide."""

    path: str
    n_bytes: int  # of all its files, as the workflow found them
    mpp: float | None  # µm per level-0 pixel; None: as the file states
    mask: str  # tissue mask to use instead of the segmenter's, or empty

    @property
    def mask_file(self) -> Path | None:
        """The mask, if there is one."""
        return Path(self.mask) if self.mask else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--slides", required=True, help="slide -> what the sheet says of it (JSON)")
    parser.add_argument("--settings", required=True, help="config section `tissue` as JSON")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--threads", type=int, required=True, help="slides at a time")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the slides' files")
    parser.add_argument("--out", type=Path, required=True, help="what is known of the slides, to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Segment the slides that are not done."""
    settings = Tissue.from_json(args.settings)
    slides = {slide: GivenSlide(**line) for slide, line in json.loads(args.slides).items()}

    def work(slide: str, given: GivenSlide) -> SlideWork:
        shaping = fingerprint_of(contents(given), vars(given), settings.model_dump(), args.version)
        return SlideWork(slide, shaping, lambda: segment(slide, given, settings, args.folder))

    write_batch(args.out, finish_slides([work(*item) for item in slides.items()], args.folder, args.threads))


def contents(given: GivenSlide) -> list[str]:
    """Digests of a slide's files, of their ends, and of its mask."""
    masks = [hashlib.sha256(given.mask_file.read_bytes()).hexdigest()] if given.mask_file else []
    return [hash_of_ends(readable_files(Path(given.path))), *masks]


def segment(slide: str, given: GivenSlide, settings: Tissue, folder: Path) -> SlideRecord:
    """Segment a slide; one that cannot be used gets a record that says why."""
    record, thumbnail, ground = SlideRecord(slide=slide, path=given.path), None, NOTHING
    try:
        record, thumbnail = look(record, given.mpp, settings)
        ground = find(record, thumbnail, settings, given.mask_file)
        record = record.model_copy(update=tissue_figures(ground, settings.mpp, given.mask_file))
        refuse_blank(record, thumbnail, settings, given.mask_file)
        log.info("%s: %.1f mm² of tissue", record.slide, record.tissue_mm2)
    except SlideError as error:
        raise_if_slide_away(Path(given.path), error)
        log.warning("left out: %s", error)
        record = record.failed("segment_tissue", str(error))
    write_mask(folder / MASK.format(slide=slide), ground)
    write_picture(
        folder / THUMBNAIL.format(slide=slide), draw_message(record.reason) if thumbnail is None else thumbnail
    )
    write_picture(folder / OVERLAY.format(slide=slide), draw_tissue(record, thumbnail, ground))
    return record


def look(record: SlideRecord, sheet_mpp: float | None, settings: Tissue) -> tuple[SlideRecord, Picture]:
    """The record with sizes and resolutions, and the slide's (h, w, 3) thumbnail.

    Raises:
        SlideError: the slide cannot be read or has no credible resolution.
    """
    with Slide(record.slide, Path(record.path), sheet_mpp, reader="openslide") as slide:
        conflict = bool(slide.file_mpp and abs(slide.mpp - slide.file_mpp) > MPP_TOLERANCE * slide.file_mpp)
        if conflict:
            log.warning("%s: %g µm/px in the sheet, %g in the file", slide.name, slide.mpp, slide.file_mpp)
        thumbnail = slide.thumbnail(settings.mpp)
        if slide.n_unreadable:
            log.warning("%s: %d squares of the overview cannot be decoded: white", slide.name, slide.n_unreadable)
        content, n_bytes = slide.content()
        found = {
            "content": content,
            "n_bytes": n_bytes,
            "width_lv0": slide.width_lv0,
            "height_lv0": slide.height_lv0,
            "slide_mpp": slide.mpp,
            "mpp_source": slide.mpp_source,
            "file_mpp": slide.file_mpp,
            "mpp_conflict": conflict,
            "n_unreadable": slide.n_unreadable,
            "tissue_mpp": settings.mpp,
        }
        return record.model_copy(update=found), thumbnail


def find(record: SlideRecord, thumbnail: Picture, settings: Tissue, given_mask: Path | None) -> Ground:
    """Tissue, pen and padding of the slide; a given mask decides what is tissue.

    Raises:
        SlideError: the given mask cannot be used.
    """
    found = survey(thumbnail, settings.mpp, settings.min_area_mm2, settings.min_hole_mm2)
    if given_mask is None:
        return found
    from slpd.artifacts.slides.given_mask import read_given_mask  # noqa: PLC0415  # half a second, for few slides

    assert record.width_lv0 and record.height_lv0, "look fills these"
    tissue = read_given_mask(record.slide, given_mask, (record.width_lv0, record.height_lv0), found.tissue)
    return Ground(tissue, found.pen & ~tissue, found.padding & ~tissue)


def tissue_figures(ground: Ground, mpp: float, given_mask: Path | None) -> dict[str, object]:
    """The record's figures for tissue, pen and padding."""
    return {
        "mask_source": "sheet" if given_mask else "segmenter",
        "tissue_mm2": round(float(ground.tissue.sum()) * (mpp / 1000) ** 2, 4),
        "pen_share": share_of(ground.pen),
        "padding_share": share_of(ground.padding),
    }


def share_of(mask: NDArray[np.bool_]) -> float:
    """Share of a slide's area, to four digits."""
    return round(float(mask.mean()), 4)


def draw_tissue(record: SlideRecord, thumbnail: Picture | None, ground: Ground) -> Picture:
    """The overlay: outlines, and the reason of a slide that is left out."""
    if thumbnail is None:
        return draw_message(record.reason)
    picture = draw_outlines(thumbnail, ground)
    return with_caption(picture, record.reason) if record.reason else picture


def refuse_blank(record: SlideRecord, thumbnail: Picture, settings: Tissue, given_mask: Path | None) -> None:
    """Refuse a slide without tissue, or one that is not stained tissue on a bright field, unless a mask is given.

    Raises:
        SlideError: with what there is instead.
    """
    cause = why_no_stain(thumbnail) if given_mask is None else ""
    if cause:
        raise SlideError(
            f"slide {record.slide}: {cause}; tissue is looked for on bright fields in haematoxylin and eosin:"
            " leave the slide out, or draw a mask"
        )
    if not record.tissue_mm2:
        raise SlideError(
            f"slide {record.slide}: no tissue of {settings.min_area_mm2:g} mm² or more (pen marks cover"
            f" {record.pen_share:.1%}, padding {record.padding_share:.1%}); look at it, leave it out, or draw a mask"
        )

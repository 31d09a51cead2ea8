"""Lay the region grid over the tissue of a batch of slides: region table, GeoJSON, overlay, status record of each."""

import argparse
import logging
from collections import Counter
from pathlib import Path

import numpy as np

from slpd.artifacts.slides.colours import PADDING, PEN, REGION, TISSUE, Colour
from slpd.artifacts.slides.finished_slide import FinishedSlide, read_batch, write_batch
from slpd.artifacts.slides.geojson import write_geojson
from slpd.artifacts.slides.mask import Ground, read_mask
from slpd.artifacts.slides.picture import read_picture, write_picture
from slpd.artifacts.slides.region_table import EXCLUSIONS, Exclusion, Region, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import SlideError
from slpd.geometry.outlines import Polygon, outline
from slpd.geometry.read_plan import fine_enough, region_size_lv0
from slpd.geometry.regions import area_shares
from slpd.layout import GEOJSON, MASK, OVERLAY, REGIONS, THUMBNAIL
from slpd.plots.overlay import Picture, draw_message, draw_outlines, draw_regions, with_caption, with_legend
from slpd.settings.slides import Regions
from slpd.slide_work import SlideWork, fingerprint_of, finish_slides

log = logging.getLogger(__name__)

COARSEST_SCAN_MPP = 1.1  # µm/px: a scanner's objective of 10x makes about 1
ROUNDING = 1e-9  # a share is a sum of thousands of products: full tissue may come out as 1 - 1e-12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--records", type=Path, required=True, help="the batch's records of segment_tissue (JSON)")
    parser.add_argument("--tissue", type=Path, required=True, help="folder of the slides' masks and thumbnails")
    parser.add_argument("--settings", required=True, help="config section `regions` as JSON")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--threads", type=int, required=True, help="slides at a time")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the slides' files")
    parser.add_argument("--out", type=Path, required=True, help="what is known of the slides, to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Tile the slides that are not done."""
    settings = Regions.from_json(args.settings)

    def work(before: FinishedSlide) -> SlideWork:
        shaping = fingerprint_of(before.fingerprint, settings.model_dump(), args.version)
        return SlideWork(
            before.record.slide, shaping, lambda: tile_slide(before.record, args.tissue, settings, args.folder)
        )

    batch = [work(before) for before in read_batch(args.records)]
    write_batch(args.out, finish_slides(batch, args.folder, args.threads))


def tile_slide(record: SlideRecord, tissue: Path, settings: Regions, folder: Path) -> SlideRecord:
    """Tile a slide; one that cannot be used gets a record that says why.

    Args:
        record: Its record of segment_tissue.
        tissue: Folder of masks and thumbnails.
        settings: The section of the config.
        folder: Where its files go.
    """
    slide, ground = record.slide, read_mask(tissue / MASK.format(slide=record.slide))
    regions: list[Region] = []
    if record.status == "ok":
        try:
            regions = tile(record, ground, settings)
            record = record.model_copy(update=region_figures(record, ground, regions, settings))
            refuse_empty(record, regions, settings)
            log.info("%s: %s", slide, ", ".join(text for _, text in legend(regions)))
        except SlideError as error:
            log.warning("left out: %s", error)
            record = record.failed("tile_regions", str(error))
    write_regions(folder / REGIONS.format(slide=slide), regions)
    write_geojson(folder / GEOJSON.format(slide=slide), pieces(record, ground), regions, record.region_lv0 or 0)
    overlay = draw_overlay(record, tissue / THUMBNAIL.format(slide=slide), ground, regions)
    write_picture(folder / OVERLAY.format(slide=slide), overlay)
    return record


def coarse_remedy(mpp: float, source: str | None) -> str:
    """What to do about a slide that is too coarse: some resolutions come from no scanner."""
    if mpp <= COARSEST_SCAN_MPP:
        return "leave it out or raise regions.mpp"
    where = "the mpp column of the sheet" if source == "sheet" else "the file"
    return (
        f"scanners make 0.1 to {COARSEST_SCAN_MPP:g} µm/px, so {where} is likely wrong, by ten say ({mpp / 10:g}?):"
        " write the true resolution in the mpp column, or leave the slide out"
    )


def tile(record: SlideRecord, ground: Ground, settings: Regions) -> list[Region]:
    """The places of the grid with some tissue, row by row, each kept or excluded.

    Raises:
        SlideError: the slide is too coarse or too small.
    """
    assert record.slide_mpp and record.width_lv0 and record.height_lv0, "segment_tissue fills these"
    if not fine_enough(record.slide_mpp, settings.mpp):
        raise SlideError(
            f"slide {record.slide}: {record.slide_mpp:g} µm/px is coarser than the {settings.mpp:g} µm/px asked for;"
            f" {coarse_remedy(record.slide_mpp, record.mpp_source)}"
        )
    side = region_size_lv0(settings.region_px, settings.mpp, record.slide_mpp)
    if side > min(record.width_lv0, record.height_lv0):
        raise SlideError(
            f"slide {record.slide}: {record.width_lv0} x {record.height_lv0} px is smaller than one region"
            f" of {side} px ({settings.region_px * settings.mpp:g} µm); leave it out or lower regions.region_px"
        )
    shares = np.stack([area_shares(mask, record.width_lv0, record.height_lv0, side) for mask in ground], axis=-1)
    grid = (
        Region(row, column, column * side, row * side, *shares[row, column].tolist())
        for row, column in np.argwhere(shares[..., 0] > 0).tolist()
    )
    return [region._replace(excluded=exclusion(region, settings)) for region in grid]


def exclusion(region: Region, settings: Regions) -> Exclusion:
    """Why a region is excluded; empty if it is kept."""
    if region.pen_share > settings.max_pen + ROUNDING:
        return "pen"
    if region.padding_share > settings.max_padding + ROUNDING:
        return "padding"
    return "little tissue" if region.tissue_share < settings.min_tissue - ROUNDING else ""


def region_figures(record: SlideRecord, ground: Ground, regions: list[Region], settings: Regions) -> dict[str, object]:
    """The record's figures for the regions."""
    assert record.slide_mpp and record.width_lv0 and record.height_lv0, "segment_tissue fills these"
    counts = Counter(region.excluded for region in regions)
    side = region_size_lv0(settings.region_px, settings.mpp, record.slide_mpp)
    in_grid = sum(region.tissue_share for region in regions) * side**2  # level-0 pixels
    outside = float(ground.tissue.mean()) * record.width_lv0 * record.height_lv0 - in_grid
    return {
        "region_px": settings.region_px,
        "region_lv0": side,
        "requested_mpp": settings.mpp,
        "outside_mm2": round(max(0.0, outside) * (record.slide_mpp / 1000) ** 2, 4),
        "n_regions": counts[""],
        "n_little_tissue": counts["little tissue"],
        "n_pen": counts["pen"],
        "n_padding": counts["padding"],
    }


def refuse_empty(record: SlideRecord, regions: list[Region], settings: Regions) -> None:
    """Refuse a slide of which no region is kept.

    Raises:
        SlideError: with the counts by reason.
    """
    if not record.n_regions:
        best = max((region.tissue_share for region in regions), default=0.0)
        raise SlideError(
            f"slide {record.slide}: of {len(regions)} regions with tissue none is kept:"
            f" {record.n_little_tissue} below regions.min_tissue {settings.min_tissue:g} (most tissue: {best:.3f}),"
            f" {record.n_pen} above regions.max_pen {settings.max_pen:g},"
            f" {record.n_padding} above regions.max_padding {settings.max_padding:g}"
        )


def pieces(record: SlideRecord, ground: Ground) -> list[Polygon]:
    """Outlines of the tissue, level-0 pixels."""
    if not record.width_lv0 or not record.height_lv0:
        return []
    return outline(ground.tissue, (record.width_lv0, record.height_lv0))


def draw_overlay(record: SlideRecord, thumbnail: Path, ground: Ground, regions: list[Region]) -> Picture:
    """The overlay: outlines, regions, legend, and the reason of a slide that is left out."""
    if not record.width_lv0:
        return draw_message(record.reason)
    picture = draw_outlines(read_picture(thumbnail), ground)
    picture = draw_regions(picture, regions, (record.region_lv0 or 0) * picture.shape[1] / record.width_lv0)
    outlines = [
        (colour, text)
        for colour, text, mask in (
            (TISSUE, "tissue", ground.tissue),
            (PEN, "pen", ground.pen),
            (PADDING, "padding", ground.padding),
        )
        if mask.any()
    ]
    picture = with_legend(picture, outlines + legend(regions))
    return with_caption(picture, record.reason) if record.reason else picture


def legend(regions: list[Region]) -> list[tuple[Colour, str]]:
    """Colour and count of the regions of every state."""
    counts = Counter(region.excluded for region in regions)
    excluded = [(REGION[reason], f"{counts[reason]} excluded: {reason}") for reason in EXCLUSIONS if counts[reason]]
    return [(REGION[""], f"{counts['']} regions"), *excluded]

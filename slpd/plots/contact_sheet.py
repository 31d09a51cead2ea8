"""All regions of a slide on one sheet."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from slpd.artifacts.slides.region_pictures import n_columns, n_rows, place_of
from slpd.plots.overlay import MESSAGE, Picture, load_font

UNREADABLE = "cannot be read"


def draw_region_sheet(pictures: Iterable[Picture | None], n_regions: int, picture_px: int) -> Picture:
    """One picture of a slide's regions, as `artifacts/slides/region_pictures.py` lays them out.

    Args:
        pictures: (picture_px, picture_px, 3) of each region; None: it cannot be read, and its place says so.
        n_regions: Their number.
        picture_px: Side of each.
    """
    sheet = np.full((n_rows(n_regions) * picture_px, n_columns(n_regions) * picture_px, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        left, top, side = place_of(index, n_regions, picture_px)
        sheet[top : top + side, left : left + side] = gap(side) if picture is None else picture
    return sheet


def gap(side: int) -> Picture:
    """What stands in the place of a region that cannot be read."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, side - 1, side - 1), outline=MESSAGE)
    draw.line((0, 0, side, side), fill=MESSAGE)
    draw.line((0, side, side, 0), fill=MESSAGE)
    draw.text((side / 2, side / 4), UNREADABLE, fill=MESSAGE, font=load_font(max(6, side // 10)), anchor="mm")
    return np.asarray(image)

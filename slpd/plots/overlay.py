"""Overlays on slide thumbnails."""

import textwrap
from collections.abc import Iterable, Sequence
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slpd.artifacts.slides.colours import PADDING, PEN, REGION, TISSUE, Colour
from slpd.artifacts.slides.mask import Ground
from slpd.artifacts.slides.region_table import Region

Picture = NDArray[np.uint8]  # (h, w, 3) RGB

LEAST_SIDE_PX, GREATEST_SIDE_PX = 600, 2000  # of an overlay: large enough to look at, small enough to open
FONTS = Path(str(distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")))  # without importing it
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))  # a pixel and its four neighbours
TEXT_PX = 18  # height of captions
MESSAGE: Colour = (213, 94, 0)


def draw_outlines(thumbnail: Picture, ground: Ground) -> Picture:
    """A thumbnail with the outlines of tissue, pen marks and padding, at a size to look at.

    Args:
        thumbnail: The whole slide.
        ground: What it shows where, as large as the thumbnail.
    """
    picture = Image.fromarray(thumbnail).resize(viewing_size(thumbnail), Image.Resampling.BICUBIC)
    drawn = np.array(picture)
    for mask, colour in ((ground.padding, PADDING), (ground.pen, PEN), (ground.tissue, TISSUE)):
        resized = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
        inner = cv2.erode(resized.astype(np.uint8), CROSS, iterations=2)  # the picture's edge is no outline
        drawn[resized & (inner == 0)] = colour
    return drawn


def draw_regions(picture: Picture, regions: Iterable[Region], side: float) -> Picture:
    """A picture with a square per region in the colour of its state, excluded ones crossed out.

    Args:
        picture: The whole slide, with its outlines.
        regions: Kept and excluded.
        side: Side of a region, pixels of the picture.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for region in sorted(regions, key=lambda region: not region.excluded):  # kept ones on top
        left, top, right, bottom = (
            place * side for place in (region.column, region.row, region.column + 1, region.row + 1)
        )
        colour = REGION[region.excluded]
        draw.rectangle((left, top, right, bottom), outline=colour, width=2 if region.excluded else 3)
        if region.excluded:
            draw.line((left, bottom, right, top), fill=colour, width=2)
    return np.asarray(image)


def with_legend(picture: Picture, entries: Sequence[tuple[Colour, str]]) -> Picture:
    """A picture over lines that explain its colours."""
    font = load_font(TEXT_PX)
    places, x, y = [], 0, 0
    for _, text in entries:
        length = 3 * TEXT_PX + round(font.getlength(text))
        if x and x + length > picture.shape[1]:
            x, y = 0, y + round(1.5 * TEXT_PX)
        places.append((x, y))
        x += length
    image = extended(picture, y + 2 * TEXT_PX)
    draw = ImageDraw.Draw(image)
    for (x, y), (colour, text) in zip(places, entries, strict=True):
        left, top = x + TEXT_PX // 2, picture.shape[0] + y + TEXT_PX // 2
        draw.rectangle((left, top, left + TEXT_PX, top + TEXT_PX), fill=colour)
        draw.text((left + 1.5 * TEXT_PX, top - 2), text, fill="black", font=font)
    return np.asarray(image)


def with_caption(picture: Picture, message: str) -> Picture:
    """A picture over a message."""
    text = textwrap.wrap(message, max(20, round(1.6 * picture.shape[1] / TEXT_PX)))  # letters are 0.6 as wide as high
    image = extended(picture, round((1.3 * len(text) + 1) * TEXT_PX))
    place = (TEXT_PX // 2, picture.shape[0] + TEXT_PX // 2)
    ImageDraw.Draw(image).multiline_text(place, "\n".join(text), fill=MESSAGE, font=load_font(TEXT_PX))
    return np.asarray(image)


def extended(picture: Picture, strip_px: int) -> Image.Image:
    """A picture with a white strip under it."""
    image = Image.new("RGB", (picture.shape[1], picture.shape[0] + strip_px), "white")
    image.paste(Image.fromarray(picture))
    return image


def viewing_size(thumbnail: Picture) -> tuple[int, int]:
    """Width and height at which a thumbnail is looked at."""
    height, width = thumbnail.shape[:2]
    longest = max(height, width)
    scale = min(max(longest, LEAST_SIDE_PX), GREATEST_SIDE_PX) / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def draw_message(message: str) -> Picture:
    """A small picture that shows a message, in place of an overlay that could not be made."""
    image = Image.new("RGB", (600, 300), "white")
    text = "\n".join(textwrap.wrap(message, 60))
    ImageDraw.Draw(image).multiline_text((20, 20), text, fill=MESSAGE, font=load_font(TEXT_PX))
    return np.asarray(image)


def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has the letters of most languages and signs like µ and ²; it comes with matplotlib."""
    return ImageFont.truetype(FONTS / "DejaVuSans.ttf", size_px)

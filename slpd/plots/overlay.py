"""Overlays on slide thumbnails, and the contact sheet of a cohort."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Picture = NDArray[np.uint8]  # (h, w, 3) RGB

LEAST_SIDE_PX, GREATEST_SIDE_PX = 600, 2000  # of an overlay: large enough to look at, small enough to open
SHEET_WIDTH_PX = 5000  # of a contact sheet
# Okabe-Ito colours: told apart by colour-blind readers, absent from haematoxylin and eosin.
OUTLINE, KEPT, REJECTED = (0, 158, 115), (0, 114, 178), (213, 94, 0)


def draw_outline(thumbnail: Picture, mask: NDArray[np.bool_]) -> Picture:
    """A thumbnail with the outline of the mask, at a size to look at.

    Args:
        thumbnail: The whole slide.
        mask: (h, w) tissue of the whole slide, as large as the thumbnail.
    """
    picture = Image.fromarray(thumbnail).resize(viewing_size(thumbnail), Image.Resampling.BICUBIC)
    resized = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
    inner = ndimage.binary_erosion(resized, iterations=2, border_value=1)
    drawn = np.array(picture)
    drawn[resized & ~inner] = OUTLINE
    return drawn


def draw_regions(
    picture: Picture, kept: Iterable[tuple[int, int]], rejected: Iterable[tuple[int, int]], side: float
) -> Picture:
    """A picture with squares.

    Args:
        picture: The whole slide, with its outline.
        kept: Grid places (row, column) of the regions used.
        rejected: Grid places of the regions with too little tissue.
        side: Side of a region, pixels of the picture.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for places, colour, width in ((rejected, REJECTED, 1), (kept, KEPT, 3)):
        for row, column in places:
            corners = [value * side for value in (column, row, column + 1, row + 1)]
            draw.rectangle(corners, outline=colour, width=width)
    return np.asarray(image)


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
    ImageDraw.Draw(image).multiline_text((20, 20), text, fill=REJECTED, font=load_font(18))
    return np.asarray(image)


def contact_sheet(pictures: Iterable[Picture], captions: Sequence[tuple[str, str]]) -> Picture:
    """All pictures of a cohort on one sheet, each with two lines under it.

    Args:
        pictures: As many as captions; taken one at a time.
        captions: The two lines.
    """
    columns = max(1, math.ceil(math.sqrt(len(captions) * 1.3)))  # a little wider than high
    cell_px = min(320, SHEET_WIDTH_PX // columns)
    line_px = max(10, cell_px // 18)
    cell_height_px = cell_px + 3 * line_px
    sheet = Image.new("RGB", (columns * cell_px, math.ceil(len(captions) / columns) * cell_height_px), "white")
    draw, font = ImageDraw.Draw(sheet), load_font(line_px - 2)
    for index, (picture, lines) in enumerate(zip(pictures, captions, strict=True)):
        x, y = index % columns * cell_px, index // columns * cell_height_px
        image = Image.fromarray(picture)
        image.thumbnail((cell_px - 8, cell_px - 8))
        sheet.paste(image, (x + (cell_px - image.width) // 2, y + (cell_px - image.height) // 2))
        for number, line in enumerate(lines):
            place = (x + 4, y + cell_px + number * line_px)
            draw.text(place, fitting(line, font, cell_px - 8), fill="black", font=font)
    return np.asarray(sheet)


def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has the letters of most languages and signs like µ and ²; it comes with matplotlib."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)


def fitting(line: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """The line, or its beginning with an ellipsis if it is wider than `width_px`."""
    if font.getlength(line) <= width_px:
        return line
    shown = next(n for n in range(len(line), -1, -1) if font.getlength(line[:n] + "…") <= width_px or n == 0)
    return line[:shown] + "…"

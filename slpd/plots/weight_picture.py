"""Regions of a slide by their part in a prediction, over its thumbnail."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from slpd.artifacts.slides.colours import Colour
from slpd.plots.overlay import GREATEST_SIDE_PX, Picture, viewing_size, with_caption, with_legend

LEAST, MOST = np.array([255, 237, 160]), np.array([189, 0, 38])  # ColorBrewer's YlOrRd
OPACITY = 140  # of 255: tissue shows through


def weight_colours(weights: NDArray[np.float64]) -> list[Colour]:
    """A colour for each region, from that of no part to that of the slide's largest part."""
    shares = weights / max(float(weights.max()), np.finfo(float).tiny)
    mixed = LEAST + shares[:, None] * (MOST - LEAST)
    return [(r, g, b) for r, g, b in np.rint(mixed).astype(int).tolist()]


def draw_weights(
    thumbnail: Picture | None,
    size_lv0: tuple[int, int],
    coords: NDArray[np.int64],
    region_lv0: int,
    weights: NDArray[np.float64],
    caption: str,
) -> Picture:
    """The picture, over a legend and a caption.

    Args:
        thumbnail: Of the whole slide; None: regions alone, on white.
        size_lv0: Width and height of the slide, level-0 pixels.
        coords: (n, 2) upper left corners, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.
        weights: (n,) the part of each region.
        caption: What is said of the slide.
    """
    base = white(size_lv0) if thumbnail is None else Image.fromarray(thumbnail).resize(viewing_size(thumbnail))
    marks = Image.new("RGBA", base.size)
    draw, scale = ImageDraw.Draw(marks), base.size[0] / size_lv0[0]
    for (x, y), colour in zip(coords.tolist(), weight_colours(weights), strict=True):
        box = (x * scale, y * scale, (x + region_lv0) * scale, (y + region_lv0) * scale)
        draw.rectangle(box, fill=(*colour, OPACITY), outline=colour)
    drawn = np.asarray(Image.alpha_composite(base.convert("RGBA"), marks).convert("RGB"))
    least, most = weight_colours(np.array([0.0, 1.0]))
    entries = [(least, "no part in the prediction"), (most, f"largest part: {weights.max():.3g}")]
    return with_caption(with_legend(drawn, entries), caption)


def white(size_lv0: tuple[int, int]) -> Image.Image:
    """A white picture of a slide's proportions."""
    scale = GREATEST_SIDE_PX / 2 / max(size_lv0)
    return Image.new("RGB", (max(1, round(size_lv0[0] * scale)), max(1, round(size_lv0[1] * scale))), "white")

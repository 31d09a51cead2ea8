"""What goes wrong with slides: pen on the glass, tissue out of focus, an area that was not scanned."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from slpd.settings.synthetic import Flaw

PEN = (0, 90, 190)  # RGB of a blue marker
PEN_WIDTH, BLUR_RADIUS, PADDED = 0.1, 0.008, 0.3  # of the picture's width


def add_flaw(rgb: NDArray[np.uint8], flaw: Flaw, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`rgb` (H, W, 3) with a pen stroke across it, its right half out of focus, or its right side not scanned."""
    picture = Image.fromarray(rgb)
    width, height = picture.size
    if flaw == "pen":
        ends = rng.uniform(0.25, 0.75, 2) * width
        ImageDraw.Draw(picture).line([(ends[0], 0), (ends[1], height)], PEN, round(PEN_WIDTH * width))
    elif flaw == "blur":
        half = (width // 2, 0, width, height)
        picture.paste(picture.crop(half).filter(ImageFilter.GaussianBlur(BLUR_RADIUS * width)), half)
    else:
        picture.paste((255, 255, 255), (round((1 - PADDED) * width), 0, width, height))
    return np.asarray(picture)

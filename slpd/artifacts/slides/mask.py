"""What a slide shows where (`<slide>.png`): 8-bit grey, 255 tissue, 100 pen, 50 padding, 0 glass.

It covers the whole slide, so a mask pixel is width_lv0 / width by height_lv0 / height level-0 pixels. Everything above
127 is tissue, so the file serves as a mask in other programs, and edited by hand as the `mask` of a sheet.
A slide that could not be read has a mask of one pixel of glass.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.atomic import atomic_path

Mask = NDArray[np.bool_]  # (h, w)

TISSUE_GREY, PEN_GREY, PADDING_GREY = 255, 100, 50
LEAST_TISSUE_GREY = 128


class Ground(NamedTuple):
    """What a slide shows where. No pixel is two of them; what is none is glass."""

    tissue: Mask
    pen: Mask
    padding: Mask


NOTHING = Ground(*(np.zeros((1, 1), bool) for _ in Ground._fields))


def write_mask(path: Path, ground: Ground) -> None:
    """Write a mask."""
    greys = np.select(list(ground), [TISSUE_GREY, PEN_GREY, PADDING_GREY]).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(greys).save(temporary, format="PNG")


def read_mask(path: Path) -> Ground:
    """Read a mask."""
    with Image.open(path) as image:
        greys = np.asarray(image.convert("L"))
    return Ground(greys >= LEAST_TISSUE_GREY, greys == PEN_GREY, greys == PADDING_GREY)

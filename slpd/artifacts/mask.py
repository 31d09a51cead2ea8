"""Tissue mask of a slide (`<slide>.png`): 8-bit grey, 255 on tissue, 0 elsewhere.

It covers the whole slide, so a mask pixel is width_lv0 / width by height_lv0 / height level-0 pixels.
A slide that failed has a mask of one empty pixel.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.atomic import atomic_path

NO_TISSUE: NDArray[np.bool_] = np.zeros((1, 1), bool)


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write an (h, w) mask."""
    with atomic_path(path) as temporary:
        Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read an (h, w) mask; a mask edited by hand may use any two greys around 128."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) >= 128

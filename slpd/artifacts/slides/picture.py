"""Pictures for people (`*.jpg`): thumbnails, overlays, sheets of regions, as (h, w, 3) RGB arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.atomic import atomic_path


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a picture as JPEG."""
    with atomic_path(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="JPEG", quality=88)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))

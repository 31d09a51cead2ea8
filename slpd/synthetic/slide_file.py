"""A picture as a whole-slide image: tiled, JPEG-compressed, pyramidal TIFF as scanners write it."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

TILE_PX = 256
SMALLEST_LEVEL_PX = 1024  # the pyramid ends with the first level whose longer side is below


def write_slide(path: Path, rgb: NDArray[np.uint8], mpp: float | None, jpeg_quality: int) -> None:
    """Write a slide. The same pixels give the same bytes.

    Args:
        path: The file; its suffix must be one of TIFF.
        rgb: (H, W, 3) level 0.
        mpp: µm per level-0 pixel, stored as resolution; None: the file states none.
        jpeg_quality: 1-100.
    """
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(pyramid(rgb)):
            per_cm = 1.0 if mpp is None else 10_000 / (mpp * 2**number)
            file.write(
                level,
                photometric="rgb",
                tile=(TILE_PX, TILE_PX),
                compression="jpeg",
                compressionargs={"level": jpeg_quality},
                subsampling=(2, 2),  # YCbCr, colour at half resolution
                subfiletype=1 if number else 0,  # 1: a reduced version of another image of the file
                resolution=(per_cm, per_cm),
                resolutionunit="NONE" if mpp is None else "CENTIMETER",
                metadata=None,
                software=False,
                maxworkers=1,
            )


def pyramid(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The (h, w, 3) levels of a slide, each half the size of the one before (rounded down)."""
    levels = [rgb]
    while max(levels[-1].shape[:2]) >= SMALLEST_LEVEL_PX:
        levels.append(halved(levels[-1]))
    return levels


def halved(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H // 2, W // 2, 3) means of 2 x 2 pixels, rounded."""
    even = rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2].astype(np.uint16)
    total = even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)

"""Tissue on glass, found by what glass lacks: optical density that varies from cell to cell."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Measured in green light, which haematoxylin and eosin both absorb, on area-averaged pixels of 8 µm.
WINDOW_UM = 40.0  # a few cells: the neighbourhood in which density varies
GAP_UM = 100.0  # a fat cell: narrower gaps in torn fat are closed
TEXTURE = 0.02  # standard deviation of density: glass, printed spots and dye clouds < 0.01, tissue > 0.03
DENSE = 0.25  # density that needs no texture (smooth muscle, blood): dye clouds reach 0.12
BLACK = 1.0  # density in blue light: padding and black ink; the darkest nuclei reach 0.75
INK = 1.5  # red over green density: green and cyan ink; haematoxylin has 0.9, blue-shifted scans 1.2


def find_tissue(rgb: NDArray[np.uint8], mpp: float, min_area_mm2: float, min_hole_mm2: float) -> NDArray[np.bool_]:
    """Where a slide stained with haematoxylin and eosin has tissue.

    Args:
        rgb: (h, w, 3) picture of the slide.
        mpp: Its resolution, µm per pixel; the thresholds are made for about 8.
        min_area_mm2: Smaller pieces are dropped.
        min_hole_mm2: Smaller holes are filled.

    Returns:
        (h, w) True on tissue.
    """
    density = -np.log10((rgb.astype(np.float32) + 1) / 256)  # (h, w, 3) optical density, 0 (white) to 2.4
    red, green, blue = np.moveaxis(density, 2, 0)
    side = window_px(WINDOW_UM, mpp)
    # The window reaches over the tissue's edge by half its side; the minimum takes that back.
    textured = ndimage.minimum_filter(local_deviation(green, side), side) > TEXTURE
    foreign = ndimage.maximum_filter((blue > BLACK) | ((red > INK * green) & (red > DENSE)), side)
    found = (textured | (green > DENSE)) & ~foreign
    tissue = close_gaps(found, window_px(GAP_UM, mpp))
    pixel_mm2 = (mpp / 1000) ** 2
    return drop_small(fill_small_holes(tissue, min_hole_mm2 / pixel_mm2), min_area_mm2 / pixel_mm2)


def window_px(length_um: float, mpp: float) -> int:
    """The odd number of pixels, at least 3, that is nearest to a length."""
    return 2 * max(1, round((length_um / mpp - 1) / 2)) + 1


def local_deviation(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Standard deviation of an (h, w) image in the square of `side` pixels around each pixel."""
    mean = ndimage.uniform_filter(image, side)
    square = ndimage.uniform_filter(image * image, side)
    deviation: NDArray[np.float32] = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation


def close_gaps(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """The mask with gaps narrower than `side` pixels closed; gaps to the picture's edge stay open."""
    padded = np.pad(mask.astype(np.uint8), side)
    closed: NDArray[np.uint8] = ndimage.grey_closing(padded, (side, side))
    return closed[side:-side, side:-side] > 0


def fill_small_holes(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    """The mask with enclosed holes of fewer than `min_px` pixels filled."""
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(mask)
    return filled & ~drop_small(filled & ~mask, min_px)


def drop_small(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    """The mask without connected pieces of fewer than `min_px` pixels."""
    pieces, _ = ndimage.label(mask)
    large = np.bincount(pieces.ravel()) >= min_px
    large[0] = False  # label 0 is what the mask leaves out
    kept: NDArray[np.bool_] = large[pieces]
    return kept

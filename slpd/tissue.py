"""Tissue, pen marks and padding on a slide stained with haematoxylin and eosin.

Tissue is told by stain that varies from cell to cell. Both stains absorb green light most, and each lets one end of
the spectrum pass (haematoxylin blue, eosin red), so the *stain* of a pixel is its optical density in green less the
smaller of those in red and blue. Whatever is grey has none: glass, its edges, dust, shadows, black ink, black padding.
Dye clouds have stain, but as smooth as a cloud.

The thresholds are for pictures of about 8 µm per pixel, averaged by area. They were set between what was measured in
real glass (breast and skin slides with clouds, printed spots, dust and scale bars) and in real tissue (breast, skin,
head and neck, 1,800 tiles of lung), and are given with both.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slpd.artifacts.mask import Ground, Mask

Density = NDArray[np.float32]  # (h, w) optical density: 0 (white) to 2.4 (black)

WINDOW_UM = 40.0  # a few cells: the neighbourhood in which stain varies
TEXTURE = 0.007  # standard deviation of stain in it: all real glass up to 0.0055, tissue mostly above 0.01
FAINT_TEXTURE = 0.0045  # of pale tissue and fat, where they hang together with tissue: glass in 0.1 % above 0.0045
DENSE = 0.15  # stain that needs no texture (smooth muscle, blood): dye clouds reach 0.08
GAP_UM = 100.0  # a fat cell: narrower gaps in tissue are closed
STROKE_UM = 150.0  # strokes of pens are broader; pigment, folds and clumps of red cells seldom are
FADING_UM = 80.0  # the edge over which a stroke fades
RIM_UM = 320.0  # as far from a stroke as its colour is followed where it fades slowly
FIELD_UM = 100.0  # padding comes in whole fields of the scanner
DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)  # of an 8-bit grey value


def survey(rgb: NDArray[np.uint8], mpp: float, min_area_mm2: float, min_hole_mm2: float) -> Ground:
    """Find tissue, pen marks and padding.

    Args:
        rgb: (h, w, 3) picture of the slide.
        mpp: Its resolution, µm per pixel; the thresholds are made for about 8.
        min_area_mm2: Smaller pieces of tissue are dropped.
        min_hole_mm2: Smaller holes in tissue are filled.
    """
    red, green, blue = (DENSITY[np.ascontiguousarray(rgb[..., channel])] for channel in range(3))
    with ThreadPoolExecutor(1) as beside:  # filters of images need no interpreter
        stain = beside.submit(find_stain, np.maximum(green - np.minimum(red, blue), 0), mpp)
        padding = find_padding(rgb, mpp)
        pen = find_pen(red, green, blue, padding, mpp)
    stained = stain.result() & ~pen
    pixel_mm2 = (mpp / 1000) ** 2
    tissue = fill_small_holes(stained, min_hole_mm2 / pixel_mm2) & ~pen
    tissue = drop_small(tissue, min_area_mm2 / pixel_mm2)
    return Ground(tissue, pen, padding & ~tissue)


def find_stain(stain: Density, mpp: float) -> Mask:
    """Where stain is dense or varies from cell to cell, with narrow gaps closed."""
    side = window_px(WINDOW_UM, mpp)
    # The window reaches over the tissue's edge by half its side; the minimum takes that back.
    texture = ndimage.minimum_filter(local_deviation(stain, side), side)
    found = reached(texture > FAINT_TEXTURE, (texture > TEXTURE) | (stain > DENSE))
    return close_gaps(found, window_px(GAP_UM, mpp))


def find_pen(red: Density, green: Density, blue: Density, padding: Mask, mpp: float) -> Mask:
    """Broad strokes of a colour or a density that stained tissue does not have, with their fading edges.

    Ink of the stains' own violet cannot be told from dense tissue, nor pink ink that is paler or bluer than eosin's.
    """
    ink = (
        (red > green + 0.1)  # green, blue: haematoxylin reaches 0.06 more in red than in green, in 0.1 % 0.08
        | ((red < 0.16 * green) & (green > 0.6))  # red: the most eosinophilic tissue has 0.18
        | ((red < 0.1 * green) & (green > 0.3))  # pink: eosin lets less red pass, in 0.1 % of pale red cells 0.11
        | (blue > green + 0.13)  # orange, yellow, brown: red cells and pigment reach 0.10
        | (red > 0.75)  # dark blue, violet, black: crowded nuclei reach 0.6, in 0.1 % 0.85
        | (blue > 0.75)  # dark red, brown, black: eosin and red cells reach 0.65
        | ((red > 0.5) & (blue > 0.5))  # grey, worn black: haematoxylin lets blue light pass, eosin red
    )
    stroke: Mask = ndimage.uniform_filter((ink & ~padding).astype(np.float32), window_px(STROKE_UM, mpp)) > 0.5
    if not stroke.any():
        return stroke
    faint = (red > green + 0.03) | (blue > green + 0.06)  # a few nuclei, too, but none that hang together with a stroke
    near: Mask = ndimage.maximum_filter(stroke, window_px(2 * RIM_UM, mpp))
    rim = reached(ndimage.binary_opening(faint & near), stroke)
    with_edges: Mask = ndimage.maximum_filter(rim, window_px(2 * FADING_UM, mpp))
    return with_edges & ~padding


def find_padding(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Fields of pure black or pure white, which a scanner or an archive fills in where it has no picture.

    Glass that was overexposed to pure white all over cannot be told from padding.
    """
    red, green, blue = np.moveaxis(rgb, 2, 0)
    black = (red <= 2) & (green <= 2) & (blue <= 2)
    white = (red == 255) & (green == 255) & (blue == 255)
    side = window_px(FIELD_UM, mpp)
    fields: Mask = ndimage.maximum_filter(ndimage.minimum_filter(black | white, side), side)
    return fields


def window_px(length_um: float, mpp: float) -> int:
    """The odd number of pixels, at least 3, that is nearest to a length."""
    return 2 * max(1, round((length_um / mpp - 1) / 2)) + 1


def local_deviation(image: Density, side: int) -> Density:
    """Standard deviation of an (h, w) image in the square of `side` pixels around each pixel."""
    mean = ndimage.uniform_filter(image, side)
    square = ndimage.uniform_filter(image * image, side)
    deviation: Density = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation


def reached(area: Mask, seeds: Mask) -> Mask:
    """The seeds, and the connected pieces of `area` that some seed touches."""
    pieces, n_pieces = ndimage.label(area | seeds)
    touched: Mask = np.bincount(pieces[seeds], minlength=n_pieces + 1).astype(bool)[pieces]
    return touched


def close_gaps(mask: Mask, side: int) -> Mask:
    """The mask with gaps narrower than `side` pixels closed; gaps to the picture's edge stay open."""
    closed: Mask = ndimage.minimum_filter(ndimage.maximum_filter(np.pad(mask, side), side), side)
    return closed[side:-side, side:-side]


def fill_small_holes(mask: Mask, min_px: float) -> Mask:
    """The mask with enclosed holes of fewer than `min_px` pixels filled."""
    gaps, n_gaps = ndimage.label(~mask)
    small = np.bincount(gaps.ravel(), minlength=n_gaps + 1) < min_px
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        small[edge] = False  # open to the picture's edge: no hole
    small[0] = True  # label 0 is the mask itself
    filled: Mask = small[gaps]
    return filled


def drop_small(mask: Mask, min_px: float) -> Mask:
    """The mask without connected pieces of fewer than `min_px` pixels."""
    pieces, _ = ndimage.label(mask)
    large = np.bincount(pieces.ravel()) >= min_px
    large[0] = False  # label 0 is what the mask leaves out
    kept: Mask = large[pieces]
    return kept

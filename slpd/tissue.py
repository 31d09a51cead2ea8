"""Tissue, pen marks and padding on a slide stained with haematoxylin and eosin.

Tissue is recognised by stain that varies from cell to cell. Both stains absorb green light most, and each lets one end
of the spectrum pass (haematoxylin blue, eosin red), so the *stain* of a pixel is its optical density in green less the
smaller of those in red and blue. Whatever is grey has none: glass, its edges, dust, shadows, black ink, black padding.
Dye clouds have stain, but as smooth as a cloud. Densities are those above the slide's own glass, whatever its tint;
where no glass shows, above white.

The thresholds are for pictures of about 8 µm per pixel, averaged by area. They were set between what was measured in
real glass (breast and skin slides with clouds, printed spots, dust and scale bars) and in real tissue (breast, skin,
head and neck, 1,800 tiles of lung), and are given with both.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slpd.artifacts.slides.mask import Ground
from slpd.geometry.neighbourhood import Density, Mask, local_deviation, reached, window_px
from slpd.pen import find_pen

WINDOW_UM = 40.0  # a few cells: the neighbourhood in which stain varies
TEXTURE = 0.007  # standard deviation of stain in it: all real glass up to 0.0055, tissue mostly above 0.01
FAINT_TEXTURE = 0.0045  # of pale tissue and fat connected with tissue: glass in 0.1 % above 0.0045
DENSE = 0.15  # stain that needs no texture (smooth muscle, blood): dye clouds reach 0.08
GAP_UM = 100.0  # a fat cell: narrower gaps in tissue are closed
SMOOTH_GLASS = 0.006  # deviation of density in a few cells
LARGEST_BLACK = 2  # grey level of what a scanner fills in
LEAST_LIT = 0.01  # share of pixels that are not filled in, to judge a picture by
DARK_FIELD = 25  # grey level of a picture's median darkest channel: tissue all over a bright field has 80 and more
GREY_SPREAD, GREY_CONTENT = 6, 200  # grey levels between channels, and of what is darker than glass
GLASS_SHARE = 0.01  # least share of glass in the picture to measure its colour; below, white is assumed
LEAST_GLASS = 150  # grey level of glass in its darkest channel; a picture without any this bright has none
GLASS_RANGE = 8  # grey levels below the brightest glass, noise and shade, that count as glass, too
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
    padding = find_padding(rgb, mpp)
    glass = DENSITY[glass_colour(rgb, padding, mpp)]
    red, green, blue = (DENSITY[np.ascontiguousarray(rgb[..., i])] - glass[i] for i in range(3))
    with ThreadPoolExecutor(1) as beside:  # image filters release the interpreter's lock
        stain = beside.submit(find_stain, np.maximum(green - np.minimum(red, blue), 0), mpp)
        pen = find_pen(red, green, blue, padding, mpp)
    stained = stain.result() & ~pen
    pixel_mm2 = (mpp / 1000) ** 2
    tissue = fill_small_holes(stained, min_hole_mm2 / pixel_mm2) & ~pen
    tissue = drop_small(tissue, min_area_mm2 / pixel_mm2)
    return Ground(tissue, pen, padding & ~tissue)


def why_no_stain(rgb: NDArray[np.uint8]) -> str:
    """Why a picture cannot show tissue in stains that absorb light, if obvious; or nothing."""
    lit = rgb.max(axis=2) > LARGEST_BLACK
    if lit.mean() > LEAST_LIT and np.median(rgb.min(axis=2)[lit]) < DARK_FIELD:
        return "the picture is dark where there is nothing, as of fluorescence or another dark field"
    spread = (rgb.max(axis=2).astype(int) - rgb.min(axis=2))[lit]
    if lit.any() and np.percentile(spread, 99.9) <= GREY_SPREAD and np.percentile(rgb[..., 1][lit], 1) < GREY_CONTENT:
        return "the picture is grey, without the colours of stains"
    return ""


def glass_colour(rgb: NDArray[np.uint8], padding: Mask, mpp: float) -> NDArray[np.uint8]:
    """(3,) the colour of a slide's glass: the brightest one that smooth parts of the picture have; else white.

    Args:
        rgb: (h, w, 3) picture.
        padding: (h, w) fields without a picture.
        mpp: µm per pixel.
    """
    side = window_px(WINDOW_UM, mpp)
    darkest = rgb.min(axis=2)
    smooth = local_deviation(DENSITY[rgb[..., 1]], side) < SMOOTH_GLASS
    smooth &= ~ndimage.maximum_filter(padding, side)
    n_pixels = np.cumsum(np.bincount(darkest[smooth], minlength=256)[::-1])[::-1]  # as bright or brighter
    levels = np.flatnonzero(n_pixels >= max(1, GLASS_SHARE * padding.size))
    brightest = int(levels[-1]) if len(levels) else 0
    if brightest < LEAST_GLASS:
        return np.full(3, 255, np.uint8)
    found: NDArray[np.uint8] = np.median(rgb[smooth & (darkest >= brightest - GLASS_RANGE)], axis=0).astype(np.uint8)
    return found


def find_stain(stain: Density, mpp: float) -> Mask:
    """Where stain is dense or varies from cell to cell, with narrow gaps closed."""
    side = window_px(WINDOW_UM, mpp)
    # The window reaches over the tissue's edge by half its side; the minimum takes that back.
    texture = ndimage.minimum_filter(local_deviation(stain, side), side)
    found = reached(texture > FAINT_TEXTURE, (texture > TEXTURE) | (stain > DENSE))
    return close_gaps(found, window_px(GAP_UM, mpp))


def find_padding(rgb: NDArray[np.uint8], mpp: float) -> Mask:
    """Fields of pure black or pure white, which a scanner or an archive fills in where it has no picture.

    Glass that is overexposed to pure white all over cannot be distinguished from padding.
    """
    red, green, blue = np.moveaxis(rgb, 2, 0)
    black = rgb.max(axis=2) <= LARGEST_BLACK
    white = (red == 255) & (green == 255) & (blue == 255)
    side = window_px(FIELD_UM, mpp)
    fields: Mask = ndimage.maximum_filter(ndimage.minimum_filter(black | white, side), side)
    return fields


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

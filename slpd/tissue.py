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

from slpd.artifacts.slides.mask import Ground, Mask

Density = NDArray[np.float32]  # (h, w) optical density: 0 (white) to 2.4 (black)

WINDOW_UM = 40.0  # a few cells: the neighbourhood in which stain varies
TEXTURE = 0.007  # standard deviation of stain in it: all real glass up to 0.0055, tissue mostly above 0.01
FAINT_TEXTURE = 0.0045  # of pale tissue and fat connected with tissue: glass in 0.1 % above 0.0045
DENSE = 0.15  # stain that needs no texture (smooth muscle, blood): dye clouds reach 0.08
GAP_UM = 100.0  # a fat cell: narrower gaps in tissue are closed
STROKE_UM = 150.0  # strokes of pens are broader; pigment, folds and clumps of red cells seldom are
FADING_UM = 75.0  # the edge over which a stroke fades
RIM_UM = 320.0  # how far from a stroke its colour is followed where it fades slowly
SMOOTH, NOISE = (
    0.06,
    0.004,
)  # deviation of density in a few cells, relative and of glass: 99 % of tissue has 0.07 and more
WASH_UM = 100.0  # pale red strokes are broader
SLENDER = 2.0  # area of a stroke in squares of its breadth
ON_GLASS = 0.5  # share of glass around a stroke, beyond its fading edge
OPEN = 0.2  # share of glass between the streaks of a dry pen; in a lake of blood there is none
GLASS_DENSITY = 0.05  # of glass with some shade or dye
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


def find_pen(red: Density, green: Density, blue: Density, padding: Mask, mpp: float) -> Mask:
    """Broad strokes of a colour or a density that stained tissue does not have, with their fading edges.

    Densities are those above the glass, so that faint ink has the proportions of dense ink, and are averaged over a few
    cells, so that the ink of a dry pen has them too. Ink as violet as the stains cannot be told from dense tissue.
    """
    side = window_px(WINDOW_UM, mpp)
    texture = local_deviation(green, side)
    red, green, blue = (ndimage.uniform_filter(density, side) for density in (red, green, blue))
    grey = np.minimum(red, blue)
    ink = (
        (red > green + 0.1)  # green, blue: haematoxylin reaches 0.06 more in red than in green, in 0.1 % 0.11
        | ((red > 1.2 * green) & (red > 0.15))  # the same, faint: haematoxylin reaches 1.1, bluish mucin is paler
        | ((red > 1.5 * green) & (blue > green) & (red > 0.06))  # faint green: no stain has it
        | ((red < 0.1 * green) & (green > 0.06))  # red, pink: eosin and red cells have 0.10 and more
        | ((red < 0.16 * green) & (green > 0.6))  # red: as dense, 0.18
        | (blue > green + 0.13)  # orange, yellow, brown: red cells and pigment reach 0.10
        | (red > 0.75)  # dark blue, violet, black: crowded nuclei reach 0.6, in 0.1 % 0.7
        | (blue > 0.75)  # dark red, brown, black: eosin and red cells reach 0.5
        | ((grey > 0.3) & (grey > 0.8 * green))  # grey, worn black: haematoxylin lets blue light pass, eosin red
    )
    stroke: Mask = ndimage.uniform_filter((ink & ~padding).astype(np.float32), window_px(STROKE_UM, mpp)) > 0.5
    wash = (red < np.clip(blue - 0.635 * green, 0.085 * green, 0.25 * green)) & (green > 0.06)  # red that is not pure
    blue_wash = (red > 0.95 * green) & (blue < red - 0.03) & (red > 0.06)  # of a colour that nuclei have, too
    smooth = texture < SMOOTH * green + NOISE
    glass = np.maximum(red, green) < GLASS_DENSITY
    stroke |= lying_on_glass((wash | blue_wash) & smooth & ~padding, glass, mpp)
    if not stroke.any():
        return stroke
    open_ground = ndimage.uniform_filter(glass.astype(np.float32), window_px(RIM_UM, mpp)) > OPEN
    # A few nuclei too, but none that are connected with a stroke.
    faint = (wash & open_ground) | (red > green + 0.03) | (blue > green + 0.06)
    near: Mask = ndimage.maximum_filter(stroke, window_px(2 * RIM_UM, mpp))
    rim = reached(ndimage.binary_opening(faint & near), stroke)
    with_edges: Mask = ndimage.maximum_filter(rim, window_px(2 * FADING_UM, mpp))
    return with_edges & ~padding


def lying_on_glass(area: Mask, glass: Mask, mpp: float) -> Mask:
    """The pieces of an area that are as long and broad as strokes and lie on glass: blood of their colour does not.

    Args:
        area: (h, w) smooth, and of a colour that red cells may have too.
        glass: (h, w) nothing at all.
        mpp: µm per pixel.
    """
    side, near, far = (window_px(length, mpp) for length in (WASH_UM, RIM_UM, 2 * RIM_UM))
    pieces, n_pieces = ndimage.label(ndimage.maximum_filter(ndimage.minimum_filter(area, side), side))
    found = np.zeros(n_pieces + 1, bool)
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        beyond = tuple(slice(max(0, part.start - far), part.stop + far) for part in (rows, columns))
        piece = pieces[beyond] == number
        radius = ndimage.distance_transform_edt(np.pad(piece, 1)).max()
        around = ndimage.maximum_filter(piece, far) & ~ndimage.maximum_filter(piece, near)
        slender = piece.sum() > SLENDER * (2 * radius) ** 2
        found[number] = slender and around.any() and glass[beyond][around].mean() > ON_GLASS
    on_glass: Mask = found[pieces]
    return on_glass


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

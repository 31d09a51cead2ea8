"""Pen marks on a slide: strokes of a colour or a density that stained tissue does not have.

The thresholds are for pictures of about 8 µm per pixel, averaged by area; `slpd/tissue.py` says what they were set on.
"""

import numpy as np
from scipy import ndimage

from slpd.geometry.neighbourhood import Density, Mask, local_deviation, reached, window_px
from slpd.pale_ink import follow_ink

CELLS_UM = 40.0  # a few cells: densities are averaged over it
STROKE_UM = 150.0  # strokes of pens are broader; pigment, folds and clumps of red cells seldom are
FADING_UM = 75.0  # the edge over which a stroke fades
RIM_UM = 320.0  # how far from a stroke its colour is followed where it fades slowly
SMOOTH, NOISE = 0.06, 0.004  # deviation of density in a few cells, relative and of glass: tissue in 99 % above 0.07
WASH_UM = 100.0  # pale red strokes are broader
SLENDER = 2.0  # area of a stroke in squares of its breadth
ON_GLASS = 0.5  # share of glass around a stroke, beyond its fading edge
OPEN = 0.2  # share of glass between the streaks of a dry pen; in a lake of blood there is none
GLASS_DENSITY = 0.05  # of glass with some shade or dye


def find_pen(red: Density, green: Density, blue: Density, padding: Mask, mpp: float) -> Mask:
    """Broad strokes of a colour or a density that stained tissue does not have, with their fading edges.

    Densities are those above the glass, so that faint ink has the proportions of dense ink, and are averaged over a few
    cells, so that the ink of a dry pen has them too. Ink as violet as the stains cannot be told from dense tissue.
    """
    side = window_px(CELLS_UM, mpp)
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
    pale = follow_ink(np.stack([red, green, blue]), stroke & (ink | wash | blue_wash), rim, padding, mpp)
    return (with_edges | pale) & ~padding


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

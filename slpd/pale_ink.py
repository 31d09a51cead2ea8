"""Pale ink over tissue, followed from the dense ink of the same pen.

A slide's own tissue is a mixture of two stains. Averaged over some cells, its densities therefore lie close to a
plane (0.003 to 0.006 off it in breast, skin, head and neck). Ink leaves that plane. A filter estimates how much of a
pen's ink a pixel has: it gives 1 for that ink and as little as possible for the slide's tissue. With v the densities
of the ink and S the second moments of tissue it is S⁻¹v / (vᵀS⁻¹v) (constrained energy minimisation, Harsanyi 1993).

What lies far from known ink counts as tissue. So ink is followed in small steps, from dense to pale. The steps end
where tissue elsewhere would be taken for this ink too, as blood is for pale red.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slpd.geometry.neighbourhood import Mask, reached, window_px

Densities = NDArray[np.float32]  # (3, h, w) optical densities in red, green, blue
Vector = NDArray[np.float64]  # (3,)

COARSE_UM = 25.0  # pixels in which ink is followed
CELLS_UM = 100.0  # densities are averaged over it
FAR_UM = 400.0  # from known ink: farther tissue is taken for clean
LEAST_CLEAN_MM2 = 0.2  # less clean tissue says too little about a slide's stains
TISSUE_DENSITY = 0.05  # tissue is denser than glass with some shade or dye
SAME_INK = 0.97  # cosine between the densities of strokes of one pen
MOST_INKS = 4  # the largest ones are followed
FULL = 0.9  # quantile of the ink in a pen's strokes that is its full ink
SHARES = np.arange(0.9, 0.079, -0.02)  # of the full ink, from dense to pale
STEP = 0.02
UNLIKE_TISSUE = 0.01  # share of clean tissue that may look like as much ink
CERTAIN = 5.0  # standard deviations of clean tissue, in shares of ink
DOUBTFUL = 0.15  # share of ink from which far tissue is left out of the second moments: it may be ink itself
TRIMS = 8  # how often that is repeated
LEAST_DEVIATION = 0.007  # of density off the plane: noise


def follow_ink(densities: Densities, ink: Mask, pen: Mask, padding: Mask, mpp: float) -> Mask:
    """(h, w) what has the colour of known ink, paler and paler, connected with it.

    Args:
        densities: (3, h, w) above the slide's glass.
        ink: (h, w) ink that is certain.
        pen: (h, w) the same with its fading edges.
        padding: (h, w) fields without a picture.
        mpp: µm per pixel.
    """
    height, width = ink.shape
    factor = max(1.0, COARSE_UM / mpp)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    ink, pen, padding = (
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > least
        for mask, least in ((ink, 0.5), (pen, 0.3), (padding, 0.0))
    )
    coarse = np.stack([cv2.resize(density, size, interpolation=cv2.INTER_AREA) for density in densities])
    side = window_px(CELLS_UM, mpp * factor)
    cells = np.stack([ndimage.uniform_filter(density, side) for density in coarse])
    for strokes, colour in inks(coarse, ink):
        full = np.quantile(np.tensordot(colour, cells, 1)[strokes], FULL)
        pen = follow_one(cells, strokes, full * colour, pen, padding, mpp * factor)
    followed: Mask = cv2.resize(pen.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    return followed


def inks(densities: Densities, ink: Mask) -> Iterator[tuple[Mask, Vector]]:
    """The strokes of each pen, and its colour as a vector of length 1; the pen with the largest stroke first."""
    pieces, n_pieces = ndimage.label(ink)
    areas = np.bincount(pieces.ravel())
    numbers = np.arange(1, n_pieces + 1)
    means = np.stack([ndimage.mean(density, pieces, numbers) for density in densities], axis=1)  # (pieces, 3)
    colours = means / np.linalg.norm(means, axis=1, keepdims=True)
    left = np.argsort(-areas[1:], kind="stable")
    for _ in range(MOST_INKS):
        if not len(left):
            return
        alike = colours[left] @ colours[left[0]] > SAME_INK
        yield np.isin(pieces, left[alike] + 1), colours[left[0]]
        left = left[~alike]


def follow_one(cells: Densities, strokes: Mask, ink: Vector, pen: Mask, padding: Mask, mpp: float) -> Mask:
    """The pen marks with what is connected with one pen's strokes and has its colour.

    Args:
        cells: (3, h, w) densities, averaged over some cells.
        strokes: (h, w) dense ink of this pen.
        ink: (3,) densities of its full ink.
        pen: (h, w) pen marks that are known.
        padding: (h, w) fields without a picture.
        mpp: µm per pixel.
    """
    tissue = (cells.max(axis=0) > TISSUE_DENSITY) & ~padding
    n_known, side = -1, window_px(2 * FAR_UM, mpp)
    for share_of_ink in SHARES:
        if n_known != pen.sum():  # else nothing has changed since the last step
            n_known = int(pen.sum())
            near = ndimage.maximum_filter(pen, side)
            clean = cells[:, tissue & ~near].astype(float)
            if clean.shape[1] * (mpp / 1000) ** 2 < LEAST_CLEAN_MM2:
                break
            weights, deviation = ink_filter(clean, ink)
            shares, clean_shares = np.tensordot(weights, cells, 1), weights @ clean
        if share_of_ink < CERTAIN * deviation or (clean_shares > share_of_ink - STEP).mean() > UNLIKE_TISSUE:
            break
        pen = pen | (reached((shares > share_of_ink) & ~padding, strokes) & near)
    return pen


def ink_filter(clean: NDArray[np.float64], ink: Vector) -> tuple[Vector, float]:
    """Weights of the three densities whose sum is the share of ink, and the deviation of that sum in tissue.

    Args:
        clean: (3, n) densities of tissue, some of which may have ink.
        ink: (3,) densities of the full ink.
    """
    kept = clean
    for _ in range(TRIMS):
        moments = kept @ kept.T / kept.shape[1] + LEAST_DEVIATION**2 * np.eye(3)
        weights = np.linalg.solve(moments, ink)
        weights /= weights @ ink
        shares = weights @ clean
        kept = clean[:, shares <= max(DOUBTFUL, np.median(shares))]
    return weights, float(np.sqrt(weights @ moments @ weights))

"""Masks as polygons, and polygons as masks."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon as pixels_inside
from skimage.measure import find_contours

Ring = NDArray[np.float64]  # (n, 2) x, y of a closed line in level-0 pixels; the last point is the first

TOLERANCE_PX = 0.4  # mask pixels by which a simplified outline may leave the exact one: less than to a pixel's centre


class Polygon(NamedTuple):
    """An area with holes."""

    exterior: Ring
    holes: list[Ring]


def outline(mask: NDArray[np.bool_], size_lv0: tuple[int, int]) -> list[Polygon]:
    """The connected pieces of a mask as polygons.

    Args:
        mask: (h, w) over the whole slide.
        size_lv0: Width and height of the slide, level-0 pixels.
    """
    scale = np.array(size_lv0) / mask.shape[::-1]  # level-0 pixels per mask pixel
    n_labels, pieces, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    polygons = []
    for number in range(1, n_labels):  # label 0 is what the mask leaves out
        left, top, width, height, _ = boxes[number]
        # Contours run between the centres of pixels, whose first is at 0; the pad adds a pixel on every side.
        piece = np.pad(pieces[top : top + height, left : left + width] == number, 1).astype(np.float32)
        corner = np.array([left, top]) - 0.5
        contours = find_contours(piece, 0.5)  # type: ignore[no-untyped-call]
        rings = [(simplified(contour)[:, ::-1] + corner) * scale for contour in contours]
        exterior, *holes = sorted(rings, key=area, reverse=True)  # the exterior encloses the holes
        polygons.append(Polygon(exterior, holes))
    return polygons


def cell_outline(cells: NDArray[np.bool_], corner: NDArray[np.int64], side_lv0: int) -> list[Polygon]:
    """The connected pieces of a square of cells as polygons along the cells' edges.

    Args:
        cells: (n, n) which cells belong to it.
        corner: (2,) x, y of the square's upper left corner, level-0 pixels.
        side_lv0: Side of the square, level-0 pixels.
    """
    fine = cells.repeat(4, axis=0).repeat(4, axis=1)  # outlines cut corners by half a pixel: an eighth of a cell
    scale = side_lv0 / len(cells)

    def at_cells(ring: Ring) -> Ring:
        points = np.rint(ring)
        return points[np.r_[True, np.diff(points, axis=0).any(axis=1)]] * scale + corner

    pieces = outline(fine, cells.shape)
    return [Polygon(at_cells(exterior), [at_cells(hole) for hole in holes]) for exterior, holes in pieces]


def simplified(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed line with fewer points."""
    line = contour[kept_points(contour, TOLERANCE_PX)]
    return line if len(line) > 3 else contour  # a piece of a pixel or two would vanish


def kept_points(line: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Which of a line's (n, 2) points stay, so that none of the others is farther than `tolerance` from the new line.

    Douglas and Peucker (1973): a stretch whose farthest point is too far from its chord is cut there. scikit-image has
    the same in a module that takes 0.7 s to import.
    """
    kept = np.zeros(len(line), bool)
    kept[[0, -1]] = True
    stretches = [(0, len(line) - 1)]
    while stretches:
        first, last = stretches.pop()
        distances = chord_distances(line[first : last + 1])
        farthest = first + int(distances.argmax())
        if distances.max() > tolerance:
            kept[farthest] = True
            stretches += [(first, farthest), (farthest, last)]
    return kept


def chord_distances(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) distances of a line's points from the straight line between its ends; of a closed line, from its end."""
    offset, chord = line - line[0], line[-1] - line[0]
    along = np.clip(offset @ chord / max(chord @ chord, 1e-12), 0, 1)
    distances: NDArray[np.float64] = np.hypot(*(offset - along[:, None] * chord).T)
    return distances


def area(ring: Ring) -> float:
    """Area that a ring encloses, square pixels."""
    x, y = ring.T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def rasterise(polygons: Iterable[Polygon], size_lv0: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask of the pixels whose centres lie in a polygon and in none of its holes.

    Args:
        polygons: In level-0 pixels; what lies outside the slide is cut off.
        size_lv0: Width and height of the slide, level-0 pixels.
        shape: Height and width of the mask, which covers the whole slide.
    """
    mask = np.zeros(shape, bool)
    scale = np.array(shape[::-1]) / size_lv0  # mask pixels per level-0 pixel
    for exterior, holes in polygons:
        inside, *outside = (flat_pixels(ring * scale, shape) for ring in (exterior, *holes))
        mask.flat[np.setdiff1d(inside, np.concatenate(outside)) if outside else inside] = True
    return mask


def flat_pixels(ring: Ring, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Flat indices of the pixels whose centres a ring (in mask pixels) encloses."""
    columns, rows = ring.T - 0.5  # centres have whole numbers here
    inside_rows, inside_columns = pixels_inside(rows, columns, shape)  # type: ignore[no-untyped-call]
    flat: NDArray[np.intp] = inside_rows * shape[1] + inside_columns
    return flat

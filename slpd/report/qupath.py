"""A slide's regions for QuPath: each a tile classified by its prototype, with distances and weights as measurements."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.slides.geojson import feature
from slpd.geometry.outlines import cell_outline
from slpd.report.palette import OTHER, rgb, series_colour

Rings = list[list[list[int]]]  # closed lines of x, y in level-0 pixels: the exterior, then holes


def region_shapes(coords: NDArray[np.int64], region_lv0: int, present: NDArray[np.bool_]) -> dict[int, list[Rings]]:
    """Number -> pieces of every region of which patches are absent, along the edges of those that are present.

    Args:
        coords: (n, 2) upper left corners, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.
        present: (n, P) which patches are present.
    """
    grid = math.isqrt(present.shape[1])
    shapes = {}
    for number in np.flatnonzero(~present.all(axis=1)).tolist():
        pieces = cell_outline(present[number].reshape(grid, grid), coords[number], region_lv0)
        shapes[number] = [[np.rint(ring).astype(int).tolist() for ring in (piece[0], *piece[1])] for piece in pieces]
    return shapes


def regions_geojson(
    coords: NDArray[np.int64],
    region_lv0: int,
    assignments: NDArray[np.int16],
    measurements: Mapping[str, Sequence[float] | NDArray[Any]],
    shapes: Mapping[int, Sequence[Rings]],
) -> str:
    """A FeatureCollection of the regions.

    Args:
        coords: (n, 2) upper left corners, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.
        assignments: (n,) prototype of each region, -1: none.
        measurements: Name -> one value per region; nan is left out.
        shapes: Region -> its pieces, where patches are absent; other regions are squares.
    """
    features = []
    for number, ((x, y), prototype) in enumerate(zip(coords.tolist(), assignments.tolist(), strict=True)):
        corners = [[x, y], [x + region_lv0, y], [x + region_lv0, y + region_lv0], [x, y + region_lv0], [x, y]]
        values = {name: round(float(column[number]), 6) for name, column in measurements.items()}
        about = {
            "name": f"Region {number}",
            "measurements": {name: value for name, value in values.items() if np.isfinite(value)},
        }
        name = f"Prototype {prototype + 1}" if prototype >= 0 else "No prototype"
        colour = rgb(series_colour(prototype) if prototype >= 0 else OTHER)
        tile = feature([corners], "tile", name, colour, about)
        if number in shapes:
            tile["geometry"] = {"type": "MultiPolygon", "coordinates": shapes[number]}
        features.append(json.dumps(tile))
    lines = ",\n".join(features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'

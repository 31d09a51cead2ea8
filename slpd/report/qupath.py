"""A slide's regions for QuPath: each a tile classified by its prototype, with distances and weights as measurements."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.slides.geojson import feature
from slpd.report.palette import OTHER, rgb, series_colour


def regions_geojson(
    coords: NDArray[np.int64],
    region_lv0: int,
    assignments: NDArray[np.int16],
    measurements: Mapping[str, Sequence[float] | NDArray[Any]],
) -> str:
    """A FeatureCollection of the regions.

    Args:
        coords: (n, 2) upper left corners, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.
        assignments: (n,) prototype of each region, -1: none.
        measurements: Name -> one value per region; nan is left out.
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
        features.append(json.dumps(feature([corners], "tile", name, colour, about)))
    lines = ",\n".join(features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'

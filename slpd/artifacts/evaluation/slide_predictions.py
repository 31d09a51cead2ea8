"""Predictions of slides outside the evaluation (`predictions.csv`, and a GeoJSON per slide), for people.

predictions.csv: a line per slide, or per patient. slide (of a patient all, separated by spaces), patient, predicted
(class, or risk), then for every class `prob_<class>`, the mean over folds, and `sd_<class>`, the standard deviation
(ddof 1; nan: one fold); of survival tasks `risk`, `sd_risk`; n_folds; use, which is always "research use only".
<slide>.geojson: a tile per region for QuPath, level-0 pixels, with its weight and the weight's deviation over folds as
measurements; `use` as above, and the figures of the slide.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.atomic import write_text
from slpd.artifacts.rows import write_table
from slpd.artifacts.slides.colours import Colour
from slpd.artifacts.slides.geojson import feature

USE = "research use only"


def write_slide_predictions(path: Path, names: Sequence[str], lines: Sequence[Sequence[object]], n_folds: int) -> None:
    """Write a line per case.

    Args:
        path: The file to write.
        names: Of the figures, as `Ensemble` has them.
        lines: Slides, patient, predicted, then mean and deviation of every figure.
        n_folds: That the means are over.
    """
    columns = [column for name in names for column in (name, f"sd_{name.removeprefix('prob_')}")]
    header = ("slide", "patient", "predicted", *columns, "n_folds", "use")
    write_table(path, header, [[*line, n_folds, USE] for line in lines])


def write_weights_geojson(
    path: Path,
    coords: NDArray[np.int64],
    region_lv0: int,
    measurements: Mapping[str, NDArray[np.float64]],
    colours: Sequence[Colour],
    figures: Mapping[str, object],
) -> None:
    """Write the regions of a slide.

    Args:
        path: The file to write.
        coords: (n, 2) upper left corners, level-0 pixels.
        region_lv0: Side of a region, level-0 pixels.
        measurements: Name -> (n,); NaN is left out.
        colours: Of each region.
        figures: What is said of the slide.
    """
    features = []
    for number, ((x, y), colour) in enumerate(zip(coords.tolist(), colours, strict=True)):
        corners = [[x, y], [x + region_lv0, y], [x + region_lv0, y + region_lv0], [x, y + region_lv0], [x, y]]
        values = {name: round(float(column[number]), 6) for name, column in measurements.items()}
        about = {"measurements": {name: value for name, value in values.items() if np.isfinite(value)}, "use": USE}
        features.append(json.dumps(feature([corners], "tile", "Region weight", colour, about)))
    head = json.dumps({"type": "FeatureCollection", "use": USE, "prediction": dict(figures)}).removesuffix("}")
    lines = ",\n".join(features)
    write_text(path, f'{head}, "features": [\n{lines}\n]}}\n')

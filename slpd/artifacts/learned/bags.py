"""Bags of a cohort (`bags.h5`): the region vectors of every used slide.

features: (R, D) float32, region vectors, slides one after the other in order of slide id.
coords: (R, 2) int64, x, y of each region's upper left corner, level-0 pixels.
offsets: (S + 1,) int64, slide s holds rows offsets[s] to offsets[s + 1].
slides: (S,) UTF-8, slide ids.
checksums: (S,) of a slide's features and coords (slpd/artifacts/checksums.py); absent in files of earlier releases.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.checksums import write_checked
from slpd.artifacts.hdf5_file import new_hdf5_file, open_hdf5_file

MADE_BY = "embed_bags (of some variants: pool_tokens, import_vectors)"


def write_bags(
    path: Path, features: Mapping[str, NDArray[np.float32]], coords: Mapping[str, NDArray[np.int64]]
) -> None:
    """Write bags.

    Args:
        path: The file to write.
        features: Slide id -> (n, D) region vectors.
        coords: Slide id -> (n, 2) level-0 pixels.
    """
    slides = sorted(features)
    counts = [len(features[slide]) for slide in slides]
    rows = {
        "features": np.concatenate([features[slide] for slide in slides]),
        "coords": np.concatenate([coords[slide] for slide in slides]),
    }
    with new_hdf5_file(path) as file:
        write_checked(file, rows, slides, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def read_bags(path: Path) -> dict[str, NDArray[np.float32]]:
    """Slide id -> (n, D) region vectors, in order of slide id.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        features, offsets = np.asarray(file["features"]), np.asarray(file["offsets"])
        slides = [name.decode() for name in file["slides"][:]]
    return {slide: features[start:stop] for slide, start, stop in zip(slides, offsets[:-1], offsets[1:], strict=True)}


def read_corners(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners of all regions, (R, 2) level-0 pixels, and the (S + 1,) offsets of the slides, without the vectors.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        return np.asarray(file["coords"]), np.asarray(file["offsets"])

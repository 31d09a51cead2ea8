"""Files of patch features in the layouts that TRIDENT 0.2 and CLAM write, learned from their public sources."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def disc(n: int, step: int, hole: int = 0) -> NDArray[np.int64]:
    """Corners of the patches of an n x n lattice in a disc, row by row, without a square hole in its middle."""
    rows, columns = np.mgrid[:n, :n]
    middle = (n - 1) / 2
    inside = (rows - middle) ** 2 + (columns - middle) ** 2 <= (n / 2) ** 2
    inside &= np.maximum(abs(rows - middle), abs(columns - middle)) >= hole / 2
    return np.stack([columns[inside], rows[inside]], 1) * step


def trident_attributes(patch_size: int, level0: float, target: float, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """What `coords` state (`coords_to_h5`); magnifications are numbers as the command line gives them."""
    return {
        "patch_size": patch_size,
        "patch_size_level0": patch_size * level0 // target,
        "level0_magnification": level0,
        "target_magnification": target,
        "overlap": 0,
        "name": "slide",
        "savetodir": "trident_processed/20x_256px_0px_overlap",
        "level0_width": 100_000,
        "level0_height": 80_000,
    } | changes


def write_trident(
    path: Path,
    features: NDArray[np.floating],
    corners: NDArray[np.int64],
    attributes: dict[str, Any],
) -> None:
    """`features_<encoder>/<slide>.h5`: a chunk a row, attributes of both datasets."""
    with h5py.File(path, "w") as file:
        for name, values in (("features", features), ("coords", corners)):
            chunks, most = (1, *values.shape[1:]), (None, *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunks, maxshape=most)
        file["features"].attrs.update({"name": path.stem, "savetodir": "features_uni_v1", "encoder": "uni_v1"})
        file["coords"].attrs.update(attributes)


def write_clam(path: Path, features: NDArray[np.floating], corners: NDArray[np.int64]) -> None:
    """`h5_files/<slide>.h5`: chunks of 32 rows, float32 and int32, no attributes."""
    with h5py.File(path, "w") as file:
        for name, values in (("features", features.astype(np.float32)), ("coords", corners.astype(np.int32))):
            file.create_dataset(name, data=values, chunks=(32, *values.shape[1:]), maxshape=(None, *values.shape[1:]))

"""Patch tokens of a slide (`<slide>.h5`), in the HDF5 layout that CLAM and TRIDENT users know.

features: (N, P, D) float16. Region n, patch p = row * side + column of the region's grid, P = side * side.
    Contiguous and uncompressed, so that a region is one read.
coords: (N, 2) int64. x, y of each region's upper left corner, level-0 pixels.
Attributes of `features`: the fields of `TokenSource`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.atomic import atomic_path
from slpd.errors import UserError


@dataclass(frozen=True)
class TokenSource:
    """Where tokens come from. Two files with the same fingerprint hold the same tokens."""

    slide: str
    fingerprint: str  # SHA-256 over slide file, regions, encoder settings and result version
    encoder: str  # model name
    encoder_sha256: str  # of the weights file; "random-<seed>" for random weights
    reader: str
    patch_px: int
    region_px: int
    region_lv0: int  # level-0 pixels
    slide_mpp: float  # µm per level-0 pixel
    requested_mpp: float
    read_mpp: float
    effective_mpp: float


def write_tokens(path: Path, features: NDArray[np.float16], coords: NDArray[np.int64], source: TokenSource) -> None:
    """Write a slide's tokens.

    Args:
        path: The file to write.
        features: (N, P, D) tokens.
        coords: (N, 2) level-0 pixels.
        source: Stored as attributes.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        dataset = file.create_dataset("features", data=features.astype(np.float16, copy=False))
        file.create_dataset("coords", data=coords)
        dataset.attrs.update(asdict(source))


def read_tokens(path: Path) -> NDArray[np.float16]:
    """The (N, P, D) tokens of a slide.

    Raises:
        UserError: the file is missing or not a token file.
    """
    with open_tokens(path) as file:
        return np.asarray(file["features"])


def read_coords(path: Path) -> NDArray[np.int64]:
    """The (N, 2) level-0 corners of a slide's regions, in the order of its tokens."""
    with open_tokens(path) as file:
        return np.asarray(file["coords"])


def read_source(path: Path) -> TokenSource:
    """Where the tokens of a file come from."""
    with open_tokens(path) as file:
        attributes = {
            key: value.item() if hasattr(value, "item") else value for key, value in file["features"].attrs.items()
        }
    return TokenSource(**attributes)


def open_tokens(path: Path) -> h5py.File:
    """Open a token file for reading, or say what is wrong with it."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"token file {path}: cannot be read ({error}); delete it, then run with --forcerun encode_patches"
        ) from error
    if "features" not in file or "coords" not in file:
        file.close()
        raise UserError(
            f"token file {path}: no features and coords in it; delete it, then run with --forcerun encode_patches"
        )
    return file

"""Vectors of a slide made elsewhere: one of the whole slide (D,) or (1, D), or a bag of them, (n, D) or (1, n, D).

TRIDENT writes `features` (D,) of a slide encoder beside the `coords` of its patches, and an empty `features` of a slide
without patches; STAMP writes `feats`. A torch file holds the tensor alone, or a dict. Nothing in it is run.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.errors import SlideError

LARGEST = float(np.finfo(np.float32).max)


def read_slide_vector(path: Path, key: str) -> NDArray[np.float32]:
    """The vector of a slide as a bag of one, (1, D).

    Raises:
        SlideError: with the reason why there is none; it names no slide, since captions count equal reasons.
    """
    vectors = read_array(path, key)
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or len(vectors) != 1:
        raise SlideError(f"{key} {vectors.shape}, expected one vector (D,) or (1, D)")
    return checked_vectors(vectors, key)


def read_bag(path: Path, key: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The vectors of a slide's regions or patches, (n, D), and their (n, 2) corners, level-0 pixels, -1 unknown.

    Raises:
        SlideError: with the reason why there are none.
    """
    vectors = read_array(path, key)
    vectors = vectors[0] if vectors.ndim == 3 and len(vectors) == 1 else vectors
    if vectors.ndim != 2:
        raise SlideError(f"{key} {vectors.shape}, expected a bag (n, D) or (1, n, D)")
    return checked_vectors(vectors, key), corners(path, len(vectors))


def read_array(path: Path, key: str) -> NDArray[Any]:
    """The array that a file has under a key."""
    try:
        return torch_array(path, key) if path.suffix.lower() == ".pt" else hdf5_array(path, key)
    except KeyError as error:
        raise SlideError(f"no {key}") from error
    except SlideError:
        raise
    except Exception as error:  # a file that is torn, or of another kind, trips the readers anywhere
        raise SlideError(f"a file that cannot be read ({type(error).__name__})") from error


def hdf5_array(path: Path, key: str) -> NDArray[Any]:
    """A dataset of an HDF5 file."""
    with h5py.File(path, "r") as file:
        return np.asarray(file[key])


def torch_array(path: Path, key: str) -> NDArray[Any]:
    """The tensor of a torch file, or of the dict that it holds."""
    import torch  # noqa: PLC0415  # seconds, and seldom needed

    stored = torch.load(path, map_location="cpu", weights_only=True)
    return np.asarray((stored[key] if isinstance(stored, dict) else stored).float())


def corners(path: Path, n_vectors: int) -> NDArray[np.int64]:
    """The `coords` of an HDF5 file, where it has as many as vectors; -1 elsewhere."""
    unknown = np.full((n_vectors, 2), -1, np.int64)
    if path.suffix.lower() == ".pt":
        return unknown
    with h5py.File(path, "r") as file:
        coords = np.asarray(file["coords"]) if "coords" in file else unknown
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    return coords.astype(np.int64) if coords.shape == unknown.shape else unknown


def checked_vectors(vectors: NDArray[Any], key: str) -> NDArray[np.float32]:
    """Vectors that a head can take, in float32."""
    if not vectors.size:
        raise SlideError(f"empty {key}")
    if vectors.dtype.kind != "f":
        raise SlideError(f"{key} of {vectors.dtype}, expected floating point numbers")
    if not (np.abs(vectors.astype(np.float64)) <= LARGEST).all():
        raise SlideError(f"{key} that are not finite")
    if not vectors.any():
        raise SlideError(f"{key} of zeros alone")
    return vectors.astype(np.float32)

"""Patch tokens made elsewhere: HDF5 with `features` (and `coords`), as CLAM and TRIDENT write it, or torch files.

Two layouts of regions are taken: (N, P, D), patches row by row, as slide2vec writes them, and (N, D, side, side), as
HIPT and SLPD do. Features of single patches become regions (`patch_features.py`). A torch file holds the tensor alone,
or a dict of `features`, `coords` and perhaps the attributes of `coords`. Nothing in it is run.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from slpd.artifacts.outside.patch_features import (
    AskedRegions,
    PatchFeatures,
    holds_patches,
    make_regions,
    stated_attributes,
)
from slpd.artifacts.outside.token_fault import fault
from slpd.artifacts.patch_tokens.token_file import stated_source
from slpd.artifacts.patch_tokens.token_information import TokenInformation

NO_COORDS = (
    "single patches without coords have no places; give the .h5 files of CLAM or TRIDENT, or slide2vec's"
    " hierarchical_embeddings"
)
ROWS_AT_ONCE = 1000
PIXELS = ("px", "pixel", "pixels")  # units of coords that some programs state


@dataclass(frozen=True)
class ForeignTokens:
    """An open file of tokens; regions are read one by one."""

    slide: str
    path: Path
    features: Any  # HDF5 dataset or tensor, (N, P, D) or (N, D, side, side)
    coords: NDArray[np.int64] | None  # (N, 2) level-0 pixels
    stated: dict[str, Any]  # fields of TokenSource that the file states
    information: TokenInformation = field(default_factory=TokenInformation)  # of the regions that were read
    present: NDArray[np.bool_] | None = None  # (N, P) of files of this program; None: every patch is
    n_excluded: None = None  # by whoever made the regions
    grouping = summary = ""  # of patches into regions

    @property
    def shape(self) -> tuple[int, int, int]:
        """Regions, patches per region and token width, (N, P, D)."""
        n_regions, *rest = self.features.shape
        n_patches, width = rest if len(rest) == 2 else (rest[1] * rest[2], rest[0])
        return n_regions, n_patches, width

    def regions(self) -> Iterator[NDArray[np.float16]]:
        """The (P, D) tokens of every region, patches row by row.

        Raises:
            SlideError: a token is not finite, or beyond float16; at the end: regions hold no information.
        """
        n_regions, n_patches, width = self.shape
        for number in range(n_regions):
            try:
                tokens = self.features[number]  # (P, D) or (D, side, side)
            except OSError as error:
                raise fault(self.slide, self.path, f"region {number} cannot be read ({error})") from error
            tokens = tokens.float().numpy() if isinstance(tokens, torch.Tensor) else tokens
            tokens = tokens.reshape(width, n_patches).T if tokens.ndim == 3 else tokens
            with np.errstate(over="ignore"):
                half = tokens.astype(np.float16, copy=False)
            if not np.isfinite(half).all():
                raise fault(self.slide, self.path, f"region {number} has tokens that are not finite or beyond 65504")
            if self.present is None:
                self.information.add(tokens, half)
            else:
                self.information.add(tokens[self.present[number]], half[self.present[number]])
            yield half
        if self.information.faults:
            raise fault(
                self.slide, self.path, f"{self.information.faults}, as files of extractions that were killed do"
            )


@contextmanager
def open_foreign_tokens(
    slide: str, path: Path, sheet_mpp: float | None, asked: AskedRegions
) -> Iterator[ForeignTokens | PatchFeatures]:
    """Open a file of tokens and check all but the values.

    Args:
        slide: Its id.
        path: The file.
        sheet_mpp: µm per level-0 pixel by the sheet; None: not given.
        asked: What the config makes of single patches.

    Raises:
        SlideError: the file cannot be read, or holds neither whole square regions nor patches that make some.
    """
    if path.suffix.lower() == ".pt":
        stored = load_torch(slide, path)
        yield checked_tokens(slide, path, stored, stored, sheet_mpp, asked)
        return
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise fault(slide, path, f"cannot be read as HDF5 ({error})") from error
    with file:
        yield checked_tokens(slide, path, file, file["coords"].attrs if "coords" in file else {}, sheet_mpp, asked)


def load_torch(slide: str, path: Path) -> dict[str, Any]:
    """The `features` and, if there, `coords` of a torch file, mapped and not read."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a file that is torn, or of another kind, trips the unpickler anywhere
        raise fault(slide, path, f"cannot be read as tensors ({str(error).partition(chr(10))[0]})") from error
    tensors = stored if isinstance(stored, dict) else {"features": stored}
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in tensors.items()}


def checked_tokens(
    slide: str,
    path: Path,
    stored: Mapping[str, Any],
    attributes: Mapping[str, Any],
    sheet_mpp: float | None,
    asked: AskedRegions,
) -> ForeignTokens | PatchFeatures:
    """What is stored in a file, if it is whole, square regions or patches of some, each at a place of its own.

    Args:
        slide: Its id.
        path: The file.
        stored: An HDF5 file, or the content of a torch file.
        attributes: Of `coords`.
        sheet_mpp: µm per level-0 pixel by the sheet; None: not given.
        asked: What the config makes of single patches.
    """
    features: Any = stored.get("features")
    refuse_other_kinds(slide, path, features)
    try:
        coords = read_foreign_coords(stored["coords"]) if "coords" in stored else None
        numbers, unit = stated_attributes(attributes), str(attributes.get("unit", PIXELS[0]))
        stated = stated_source(stored) if isinstance(stored, h5py.File) else {}
        stated = {name: value for name, value in stated.items() if value != "None"}  # TRIDENT's word for unknown
        present = np.asarray(stored["present"]) if "fingerprint" in stated and "present" in stored else None
    except (OSError, TypeError, ValueError) as error:
        raise fault(slide, path, f"coords or attributes cannot be read ({error})") from error
    if unit.lower() not in PIXELS:
        raise fault(slide, path, f"coords are in {unit}, expected level-0 pixels")
    shape = tuple(features.shape)
    if holds_patches(shape, coords):
        if coords is None or not all(shape):
            raise fault(slide, path, f"features are {shape}: {NO_COORDS if coords is None else 'no patches'}")
        coords = coords[0] if len(coords.shape) == 3 and len(coords) == 1 else coords
        corners = checked_coords(slide, path, coords, shape[-2], "patches")
        patches = make_regions(slide, path, features, corners, numbers, sheet_mpp, asked)
        return replace(patches, stated=stated | patches.stated)
    why = no_regions(shape)
    if why is not None:
        expected = "expected (n, side * side, width) or (n, width, side, side)"
        raise fault(slide, path, f"features are {shape}, {expected}{why}")
    if coords is not None:
        coords = checked_coords(slide, path, coords, shape[0], "regions")
    names = {"patch_size": "region_px", "patch_size_level0": "region_lv0"}  # TRIDENT's patch is our region
    sizes = {ours: int(numbers[theirs]) for theirs, ours in names.items() if theirs in numbers}
    return ForeignTokens(slide, path, features, coords, stated | sizes, present=present)


def read_foreign_coords(stored: Any) -> NDArray[Any]:  # noqa: ANN401 - HDF5 dataset, tensor, or what else a file holds
    """The coords of a file. HDF5 needs 7 kB for every chunk that is read at once, and TRIDENT makes one of each row."""
    if not isinstance(stored, h5py.Dataset) or not stored.shape:
        return np.asarray(stored)
    coords = np.empty(stored.shape, stored.dtype)
    for start in range(0, len(coords), ROWS_AT_ONCE):
        coords[start : start + ROWS_AT_ONCE] = stored[start : start + ROWS_AT_ONCE]
    return coords


def refuse_other_kinds(slide: str, path: Path, features: Any) -> None:  # noqa: ANN401 - whatever a file holds
    """Refuse features that are no array of floating point numbers."""
    if not isinstance(features, h5py.Dataset | torch.Tensor):
        raise fault(slide, path, "no features in it")
    if isinstance(features, torch.Tensor) and (features.layout != torch.strided or features.is_meta):
        raise fault(slide, path, "features are sparse or without values")
    if not (features.is_floating_point() if isinstance(features, torch.Tensor) else features.dtype.kind == "f"):
        raise fault(slide, path, f"features are {features.dtype}, expected floating point numbers")


def no_regions(shape: tuple[int, ...]) -> str | None:
    """What is wrong with features that are no whole, square regions, as far as it shows; None: nothing is."""
    if len(shape) not in (3, 4) or not all(shape):
        return ""
    if len(shape) == 4 and shape[2] != shape[3]:
        return ": the width must come before the sides" if shape[1] == shape[2] else ""
    if len(shape) == 4 and shape[1] == shape[2]:
        return ": side and width are equal, so their order cannot be told"
    n_patches = math.prod(shape[2:]) if len(shape) == 4 else shape[1]
    if n_patches == 1:
        return ": one patch is no region, these are single patches"
    if math.isqrt(n_patches) ** 2 == n_patches:
        return None
    return ": leave the class token out" if math.isqrt(n_patches - 1) ** 2 == n_patches - 1 else ""


def checked_coords(slide: str, path: Path, coords: NDArray[Any], n: int, what: str) -> NDArray[np.int64]:
    """The corners of `n` regions or patches, all different."""
    whole = coords.dtype.kind in "iuf" and np.array_equal(coords, np.round(coords))
    if coords.shape != (n, 2) or not whole:
        raise fault(slide, path, f"coords are {coords.shape} {coords.dtype}, expected ({n}, 2) whole level-0 pixels")
    if len(np.unique(coords, axis=0)) < n:
        raise fault(slide, path, f"two {what} have the same coords")
    return coords.astype(np.int64)

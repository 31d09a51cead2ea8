"""Patch tokens made elsewhere: HDF5 with `features` (and `coords`), as CLAM and TRIDENT write it, or torch files.

Two layouts are taken: (N, P, D), patches row by row, and (N, D, side, side), as HIPT and SLPD keep region tensors.
A torch file holds the tensor alone, or a dict of `features` and `coords`. Nothing in it is run.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from slpd.artifacts.patch_tokens.token_file import stated_source
from slpd.artifacts.patch_tokens.token_information import TokenInformation
from slpd.errors import SlideError

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
            self.information.add(tokens, half)
            yield half
        if self.information.faults:
            raise fault(
                self.slide, self.path, f"{self.information.faults}, as files of extractions that were killed do"
            )

    def check(self) -> None:
        """Read every region for its faults and information alone.

        Raises:
            SlideError: as `regions`.
        """
        for _ in self.regions():
            pass


@contextmanager
def open_foreign_tokens(slide: str, path: Path) -> Iterator[ForeignTokens]:
    """Open a file of tokens and check all but the values.

    Raises:
        SlideError: the file cannot be read, or does not hold whole square regions.
    """
    if path.suffix.lower() == ".pt":
        arrays = load_torch(slide, path)
        yield checked(slide, path, arrays.get("features"), arrays.get("coords"), {})
        return
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise fault(slide, path, f"cannot be read as HDF5 ({error})") from error
    with file:
        try:
            coords = np.asarray(file["coords"]) if "coords" in file else None
            unit = str(file["coords"].attrs.get("unit", PIXELS[0])) if "coords" in file else PIXELS[0]
            stated = stated_source(file) if "features" in file else {}
            stated |= trident_source(file)
        except (OSError, TypeError, ValueError) as error:
            raise fault(slide, path, f"coords or attributes cannot be read ({error})") from error
        if unit.lower() not in PIXELS:
            raise fault(slide, path, f"coords are in {unit}, expected level-0 pixels")
        yield checked(slide, path, file.get("features"), coords, stated)


def load_torch(slide: str, path: Path) -> dict[str, Any]:
    """The `features` and, if there, `coords` of a torch file, mapped and not read."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a file that is torn, or of another kind, trips the unpickler anywhere
        raise fault(slide, path, f"cannot be read as tensors ({str(error).partition(chr(10))[0]})") from error
    tensors = stored if isinstance(stored, dict) else {"features": stored}
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in tensors.items()}


def trident_source(file: h5py.File) -> dict[str, Any]:
    """The size of a region, where TRIDENT's attributes of `coords` state it."""
    names = {"patch_size": "region_px", "patch_size_level0": "region_lv0"}
    attributes = file["coords"].attrs if "coords" in file else {}
    return {ours: int(attributes[theirs]) for theirs, ours in names.items() if theirs in attributes}


def checked(slide: str, path: Path, features: Any, coords: Any, stated: dict[str, Any]) -> ForeignTokens:  # noqa: ANN401
    """What was found in a file, if it is whole, square regions, each at a place of its own."""
    if not isinstance(features, h5py.Dataset | torch.Tensor):
        raise fault(slide, path, "no features in it")
    if isinstance(features, torch.Tensor) and (features.layout != torch.strided or features.is_meta):
        raise fault(slide, path, "features are sparse or without values")
    if not (features.is_floating_point() if isinstance(features, torch.Tensor) else features.dtype.kind == "f"):
        raise fault(slide, path, f"features are {features.dtype}, expected floating point numbers")
    shape = tuple(features.shape)
    why = no_regions(shape)
    if why is not None:
        expected = "expected (n, side * side, width) or (n, width, side, side)"
        raise fault(slide, path, f"features are {shape}, {expected}{why}")
    if coords is not None:
        coords = checked_coords(slide, path, np.asarray(coords), shape[0])
    return ForeignTokens(slide, path, features, coords, stated)


def no_regions(shape: tuple[int, ...]) -> str | None:
    """What is wrong with features that are no whole, square regions, as far as it shows; None: nothing is."""
    if len(shape) not in (3, 4) or not all(shape):
        return ": single patches have no grid" if len(shape) == 2 else ""
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


def checked_coords(slide: str, path: Path, coords: NDArray[Any], n_regions: int) -> NDArray[np.int64]:
    """The corners of regions, all different."""
    whole = coords.dtype.kind in "iuf" and np.array_equal(coords, np.round(coords))
    if coords.shape != (n_regions, 2) or not whole:
        raise fault(
            slide, path, f"coords are {coords.shape} {coords.dtype}, expected ({n_regions}, 2) whole level-0 pixels"
        )
    if len(np.unique(coords, axis=0)) < n_regions:
        raise fault(slide, path, "two regions have the same coords")
    return coords.astype(np.int64)


def fault(slide: str, path: Path, what: str) -> SlideError:
    """What is wrong with a file."""
    return SlideError(f"slide {slide}: token file {path}: {what}; mend the file or leave the slide out")

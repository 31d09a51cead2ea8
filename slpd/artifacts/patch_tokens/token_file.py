"""Patch tokens of a slide (`<slide>.h5`), in the HDF5 layout that CLAM and TRIDENT users know.

features: (N, P, D) float16. Region n, patch p = row * side + column of the region's grid, P = side * side.
    Contiguous and uncompressed, so that a region is one read.
coords: (N, 2) int64. x, y of each region's upper left corner, level-0 pixels; -1 where an imported file has none.
sharpness: (N,) float32, of models.sharpness; NaN where unknown.
invalid: (K, 2) int64. Corners of regions that are not in the file because they cannot be read.
other_reader: (M, 2) int64. Corners of regions that another reader had to read than the attribute `reader` says; only if
    there are such. Where that is a reader on a GPU, their pixels differ by a few grey levels from what it gives.
present: (N, P) bool. False where a patch is absent, whatever `features` hold there; only if some patch is.
checksums: (1,) of all these (slpd/artifacts/checksums.py); absent in files of earlier releases.
Attributes of `features`: the fields of `TokenSource` that are known. Attributes of `coords`: TRIDENT's, of a region.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.checksums import SlideChecksum, write_checksums
from slpd.artifacts.disk import raise_if_away
from slpd.artifacts.hdf5_file import new_hdf5_file
from slpd.errors import UserError


@dataclass(frozen=True)
class TokenSource:
    """Where tokens come from. None: an import, unknown.

    Two files with the same fingerprint hold the same tokens, but for those in `Quality.other_reader`.
    """

    slide: str
    fingerprint: str  # SHA-256 over slide file, regions, reader, encoder settings and result version
    encoder: str | None = None  # model name
    encoder_sha256: str | None = None  # of the weights file; "random-<seed>" for random weights
    reader: str | None = None
    patch_px: int | None = None
    region_px: int | None = None
    region_lv0: int | None = None  # level-0 pixels
    slide_mpp: float | None = None  # µm per level-0 pixel
    requested_mpp: float | None = None
    read_mpp: float | None = None
    effective_mpp: float | None = None


def no_corners() -> NDArray[np.int64]:
    """Corners of no region, (0, 2)."""
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class Quality:
    """How sharp the regions of a slide are, which are not in its file, and which another reader had to read."""

    sharpness: NDArray[np.float32]  # (N,)
    invalid: NDArray[np.int64] = field(default_factory=no_corners)  # (K, 2) level-0 pixels
    other_reader: NDArray[np.int64] = field(default_factory=no_corners)  # (M, 2) level-0 pixels


def write_tokens(
    path: Path,
    features: Iterable[NDArray[np.float16]],
    coords: NDArray[np.int64],
    source: TokenSource,
    quality: Quality | None = None,
    present: NDArray[np.bool_] | None = None,
) -> None:
    """Write a slide's tokens, one region after the other: no more than one is held in memory.

    Args:
        path: The file to write.
        features: (P, D) tokens of each of the N regions.
        coords: (N, 2) level-0 pixels.
        source: Stored as attributes.
        quality: Of the regions; None: unknown.
        present: (N, P) False where a patch is absent; None: none is.

    Raises:
        UserError: the disk is full.
    """
    regions = iter(features)
    first = next(regions)
    quality = quality or Quality(np.full(len(coords), np.nan, np.float32))
    checksum = SlideChecksum(source.slide)
    with new_hdf5_file(path) as file:
        tokens = file.create_dataset("features", (len(coords), *first.shape), np.float16)
        tokens.attrs.update(known(asdict(source)))
        checksum.begin(tokens, len(coords))
        for place, region in zip(range(len(coords)), chain([first], regions), strict=True):
            tokens[place] = region
            checksum.add(region)
        of_regions: dict[str, NDArray[Any]] = {
            "coords": coords,
            "sharpness": quality.sharpness,
            "invalid": quality.invalid,
        }
        if len(quality.other_reader):
            of_regions["other_reader"] = quality.other_reader
        if present is not None and not present.all():
            of_regions["present"] = present
        for name, values in of_regions.items():
            dataset = file.create_dataset(name, data=values)
            dataset.attrs.update(trident_attributes(source) if name == "coords" else {})
            checksum.begin(dataset, len(values))
            checksum.add(values)
        write_checksums(file, [checksum.result()], ["features", *of_regions])


def trident_attributes(source: TokenSource) -> dict[str, object]:
    """What TRIDENT's readers look for at `coords`: its patch is our region, its magnification 10 / (µm per pixel).

    Names as in TRIDENT 0.2 (`extract_tissue_coords`).
    """
    return known(
        {
            "patch_size": source.region_px,
            "patch_size_level0": source.region_lv0,
            "level0_magnification": source.slide_mpp and 10 / source.slide_mpp,
            "target_magnification": source.effective_mpp and 10 / source.effective_mpp,
            "overlap": 0,
            "name": source.slide,
        }
    )


def known(attributes: dict[str, object]) -> dict[str, object]:
    """The attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}


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


def read_quality(path: Path) -> Quality:
    """How sharp the regions of a slide are, which were left out, and which another reader had to read."""
    with open_tokens(path) as file:
        other_reader = file["other_reader"] if "other_reader" in file else no_corners()
        return Quality(*map(np.asarray, (file["sharpness"], file["invalid"], other_reader)))


def read_present(path: Path) -> NDArray[np.bool_] | None:
    """Which patches of a slide's regions are present, (N, P); None: all are."""
    with open_tokens(path) as file:
        return np.asarray(file["present"]) if "present" in file else None


def sharp_regions(path: Path, min_sharpness: float) -> NDArray[np.int64]:
    """Places of a slide's regions in its file, without those that are known to be less sharp."""
    return np.flatnonzero(~(read_quality(path).sharpness < min_sharpness))


def read_source(path: Path) -> TokenSource:
    """Where the tokens of a file come from.

    Raises:
        TypeError: the file states no slide or fingerprint: it is of another program.
    """
    with open_tokens(path) as file:
        return TokenSource(**stated_source(file))


def has_tokens(path: Path, source: TokenSource) -> bool:
    """Whether the file holds exactly these tokens; a damaged file does not.

    Unreadable regions are tried again: OpenSlide's quick hash is the same for a slide and a better copy of it.
    """
    try:
        return path.exists() and read_source(path) == source and not len(read_quality(path).invalid)
    except (UserError, TypeError, KeyError):  # attributes or datasets of another program or version
        return False


def stated_source(file: h5py.File) -> dict[str, Any]:
    """The fields of `TokenSource` that an open file with `features` states."""
    attributes = file["features"].attrs
    names = [column.name for column in fields(TokenSource) if column.name in attributes]
    return {name: attributes[name].item() if hasattr(attributes[name], "item") else attributes[name] for name in names}


def open_tokens(path: Path) -> h5py.File:
    """Open a token file for reading, or say what is wrong with it."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise_if_away(path, error)
        raise UserError(
            f"token file {path}: cannot be read ({error}); delete it, then run with --forcerun encode_patches"
        ) from error
    if "features" not in file or "coords" not in file:
        file.close()
        raise UserError(
            f"token file {path}: no features and coords in it; delete it, then run with --forcerun encode_patches"
        )
    return file

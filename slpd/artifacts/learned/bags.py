"""Bags of a cohort (`bags.h5`): the region vectors of every used slide, or all its patch tokens.

features: (R, D), slides one after the other in order of slide id: float32 region vectors; float16 patch tokens.
coords: (R, 2) int64, x, y of the upper left corner of each region or patch, level-0 pixels; -1 unknown.
offsets: (S + 1,) int64, slide s holds rows offsets[s] to offsets[s + 1].
slides: (S,) UTF-8, slide ids.
checksums: (S,) of a slide's features and coords (slpd/artifacts/checksums.py); absent in files of earlier releases.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from slpd.artifacts.checksums import add_checksums, write_checked
from slpd.artifacts.hdf5_file import new_hdf5_file, open_hdf5_file

MADE_BY = "embed_bags (of some variants: pool_tokens, bag_patches, import_vectors)"


@dataclass(frozen=True)
class StoredBag:
    """A slide's patch tokens, which stay in their file until somebody asks for some; numpy takes it as an array."""

    path: Path
    start: int  # byte at which they start
    shape: tuple[int, int]

    def __len__(self) -> int:
        """Number of patches."""
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, D) of some patches; the file is mapped for that long."""
        return np.memmap(self.path, np.float16, "r", self.start, self.shape)[rows].astype(np.float32)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.float32]:
        """All of them."""
        return self[np.arange(len(self))].astype(dtype or np.float32, copy=False)


Bag = NDArray[np.float32] | StoredBag  # (n, D)


def write_bags(
    path: Path, features: Mapping[str, NDArray[np.float32]], coords: Mapping[str, NDArray[np.int64]]
) -> None:
    """Write bags of region vectors.

    Args:
        path: The file to write.
        features: Slide id -> (n, D) region vectors.
        coords: Slide id -> (n, 2) level-0 pixels.
    """
    slides = sorted(features)
    rows = {
        "features": np.concatenate([features[slide] for slide in slides]),
        "coords": np.concatenate([coords[slide] for slide in slides]),
    }
    with new_hdf5_file(path) as file:
        write_checked(file, rows, slides, offsets_of([len(features[slide]) for slide in slides]))


def write_patch_bags(
    path: Path,
    counts: Mapping[str, int],
    width: int,
    bags: Iterable[tuple[NDArray[np.float16], NDArray[np.int64]]],
) -> None:
    """Write bags of patch tokens; one slide is held at a time.

    Args:
        path: The file to write.
        counts: Slide id -> patches, in order of slide id.
        width: Of a token.
        bags: Of each slide (n, D) tokens and (n, 2) level-0 pixels.
    """
    slides, offsets = list(counts), offsets_of(list(counts.values()))
    with new_hdf5_file(path) as file:
        datasets = {
            "features": file.create_dataset("features", (offsets[-1], width), np.float16),
            "coords": file.create_dataset("coords", (offsets[-1], 2), np.int64),
        }
        for start, stop, rows in zip(offsets[:-1], offsets[1:], bags, strict=True):
            for dataset, values in zip(datasets.values(), rows, strict=True):
                dataset[start:stop] = values
        add_checksums(file, datasets, slides, offsets)


def offsets_of(counts: Sequence[int]) -> NDArray[np.int64]:
    """(S + 1,) where the rows of each slide begin, and where the last ones end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def read_bags(path: Path) -> dict[str, Bag]:
    """Slide id -> (n, D) region vectors, or patch tokens that are not read yet, in order of slide id.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        slides, offsets = [name.decode() for name in file["slides"][:]], np.asarray(file["offsets"])
        spans = {
            slide: (int(start), int(stop)) for slide, start, stop in zip(slides, offsets[:-1], offsets[1:], strict=True)
        }
        if file["features"].dtype == np.float16:
            return {slide: stored_bag(path, file["features"], *span) for slide, span in spans.items()}
        features = np.asarray(file["features"])
    return {slide: features[slice(*span)] for slide, span in spans.items()}


def stored_bag(path: Path, features: h5py.Dataset, first: int, stop: int) -> StoredBag:
    """Some rows of a dataset in its file."""
    width = features.shape[1]
    return StoredBag(path, features.id.get_offset() + first * width * features.dtype.itemsize, (stop - first, width))


def read_corners(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners of all regions, (R, 2) level-0 pixels, and the (S + 1,) offsets of the slides, without the vectors.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        return np.asarray(file["coords"]), np.asarray(file["offsets"])

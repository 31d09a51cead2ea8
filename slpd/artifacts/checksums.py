"""Checksums of the values that an HDF5 file holds of each slide: what a disk changed is told from what was written.

checksums: (S,) hex digits, in the order of the file's slides. Each is the SHA-256 of the slide's id and of its rows of
    some datasets, with their names, types, shapes and attributes. The attribute `of` names the datasets.

SHA-256, because a CRC is the same for too many edits of a value, and because it takes 0.5 s a GB where processors have
instructions for it. Files of earlier releases have no checksums.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.disk import raise_if_away

NAME = "checksums"
CHECKED = {"features", "bottleneck"}  # files with these datasets have checksums: tokens, bags, embeddings
BLOCK_BYTES = 2**24  # read at a time


class SlideChecksum:
    """Over the rows of a slide, dataset after dataset; the same however the rows come in parts."""

    def __init__(self, slide: str) -> None:
        self._hash = hashlib.sha256(slide.encode())

    def begin(self, dataset: h5py.Dataset, n_rows: int) -> None:
        """Go on with the slide's rows of a dataset."""
        head = [dataset.name, dataset.dtype.str, n_rows, *dataset.shape[1:], attributes_of(dataset)]
        self._hash.update(json.dumps(head, sort_keys=True).encode())

    def add(self, rows: NDArray[Any]) -> None:
        """The next rows."""
        self._hash.update(np.ascontiguousarray(rows).data)

    def result(self) -> str:
        """The checksum."""
        return self._hash.hexdigest()


def attributes_of(dataset: h5py.Dataset) -> dict[str, Any]:
    """The attributes of a dataset as Python's values."""
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in dataset.attrs.items()}


def write_checksums(file: h5py.File, checksums: Sequence[str], of: Sequence[str]) -> None:
    """Keep the checksums of a file's slides, over the datasets `of`.

    Strings of fixed length: libhdf5 reads back what it writes of others, which fails where the disk is full.
    """
    file.create_dataset(NAME, data=np.array(checksums, "S64")).attrs["of"] = np.array(of, "S")


def write_checked(
    file: h5py.File, arrays: Mapping[str, NDArray[Any]], slides: Sequence[str], offsets: NDArray[np.int64]
) -> None:
    """Write datasets in which slides have rows, one slide after the other, with `slides`, `offsets` and checksums.

    Args:
        file: The new file.
        arrays: Name of a dataset -> its R rows.
        slides: S slide ids.
        offsets: (S + 1,) slide s has rows offsets[s] to offsets[s + 1].
    """
    for name, values in arrays.items():
        file.create_dataset(name, data=values)
    add_checksums(file, arrays, slides, offsets)


def add_checksums(
    file: h5py.File, arrays: Mapping[str, Any], slides: Sequence[str], offsets: NDArray[np.int64]
) -> None:
    """The same where the datasets are written; `arrays` are what they hold, or the datasets themselves."""
    file.create_dataset("offsets", data=offsets)
    file.create_dataset("slides", data=slides, dtype=h5py.string_dtype())
    bounds = offsets.tolist()
    checksums = [
        checksum_of(file, arrays, slide, slice(start, stop))
        for slide, start, stop in zip(slides, bounds[:-1], bounds[1:], strict=True)
    ]
    write_checksums(file, checksums, list(arrays))


def slides_with_rows(file: h5py.File) -> Iterator[tuple[str, slice]]:
    """The slides of a file with their rows: all rows, in a file of one slide."""
    if "offsets" not in file:
        yield str(file["features"].attrs["slide"]), slice(None)
        return
    offsets = file["offsets"][:].tolist()
    for slide, start, stop in zip(file["slides"][:], offsets[:-1], offsets[1:], strict=True):
        yield slide.decode(), slice(start, stop)


def checksum_of(file: h5py.File, arrays: Mapping[str, Any], slide: str, rows: slice) -> str:
    """The checksum of a slide; `arrays` are in memory, or the datasets themselves."""
    checksum = SlideChecksum(slide)
    for name, values in arrays.items():
        places = range(len(values))[rows]
        checksum.begin(file[name], len(places))
        step = max(1, BLOCK_BYTES * len(values) // max(1, file[name].nbytes))
        for first in places[::step]:
            checksum.add(values[first : min(first + step, places.stop)])
    return checksum.result()


def stated_checksums(path: Path) -> list[str]:
    """The checksums that a file states of its slides; none: it is of another kind, or of an earlier release.

    Raises:
        OSError: it cannot be read as HDF5.
    """
    with h5py.File(path, "r") as file:
        return [checksum.decode() for checksum in file[NAME][:]] if NAME in file else []


def lacks_checksums(path: Path) -> bool:
    """Whether a file holds tokens or vectors of slides and no checksums: it is of an earlier release.

    Raises:
        OSError: it cannot be read as HDF5.
    """
    with h5py.File(path, "r") as file:
        return NAME not in file and bool(file.keys() & CHECKED)


def damaged_slides(path: Path) -> list[str]:
    """The slides whose values in a file are not those that were written.

    Raises:
        OSError: the damage makes it unreadable.
    """
    stated = stated_checksums(path)
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: file[name] for name in file[NAME].attrs["of"].astype(str)} if stated else {}
            slides = list(slides_with_rows(file)) if stated else []
            return [
                slide
                for (slide, rows), checksum in zip(slides, stated, strict=True)
                if checksum_of(file, arrays, slide, rows) != checksum
            ]
    except (KeyError, ValueError, RuntimeError) as error:  # h5py's words for damaged structures
        raise OSError(str(error)) from error


def is_damaged(path: Path) -> bool:
    """Whether a file's values are not those that were written; of a file without checksums nobody knows, so: no.

    Raises:
        OSError: its disk is away.
    """
    try:
        return bool(damaged_slides(path))
    except OSError as error:
        raise_if_away(path, error)
        return True


def is_proven(path: Path) -> bool:
    """Whether a file is as it was written; one of an earlier release cannot tell.

    Raises:
        OSError: its disk is away.
    """
    return not is_damaged(path) and bool(stated_checksums(path))

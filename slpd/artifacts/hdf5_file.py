"""HDF5 files that are either whole or absent, also when the disk fills up; one that was damaged later is named."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.disk import raise_if_away
from slpd.errors import UserError


class WrittenFile(io.FileIO):
    """A file that keeps its first error to itself: libhdf5 cannot close a file whose disk is full without a crash."""

    error: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        """Write all of `data`; after an error, nothing."""
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and not self.error:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the size; after an error, nothing."""
        try:
            return self.tell() if self.error else super().truncate(size)
        except OSError as error:
            self.error = error
            return self.tell()


@contextmanager
def new_hdf5_file(path: Path) -> Iterator[h5py.File]:
    """An open file that becomes `path` when the block ends without an error.

    Raises:
        UserError: the disk is full, or another error of writing.
    """
    with atomic_path(path) as temporary:
        with WrittenFile(temporary, "w+") as raw, h5py.File(raw, "w") as file:
            yield file
        if raw.error is not None:
            raise UserError(f"{path}: {raw.error.strerror}; make room and run again") from raw.error


@contextmanager
def open_hdf5_file(path: Path, made_by: str) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading.

    Args:
        path: The file.
        made_by: The stages that make it, for the message.

    Raises:
        UserError: it is missing, damaged, or another file; also if that shows while it is read.
        OSError: its disk is away.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as error:
        raise_if_away(path, error)
        raise UserError(
            f"{path}: cannot be read ({error}); delete it and start again: {made_by} makes it anew"
        ) from error

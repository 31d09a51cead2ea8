"""HDF5 files that are either complete or absent, even if the disk fills up. Damaged files are refused by name."""

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
    """A file that stores its first error and does not raise it: libhdf5 would crash closing a file on a full disk."""

    error: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        """Write all of `data`, or nothing after an error."""
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and not self.error:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the size, unless there was an error."""
        try:
            return self.tell() if self.error else super().truncate(size)
        except OSError as error:
            self.error = error
            return self.tell()


@contextmanager
def new_hdf5_file(path: Path) -> Iterator[h5py.File]:
    """A file open for writing, which becomes `path` if the block ends without an error.

    Raises:
        UserError: the disk is full, or writing failed otherwise.
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
        made_by: The stages that write it, for the message.

    Raises:
        UserError: it is missing, damaged or another kind of file. Damage may show only while it is read.
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

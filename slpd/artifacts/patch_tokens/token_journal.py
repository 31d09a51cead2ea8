"""Tokens of a slide that is being encoded (`<slide>.h5.part`). What is written survives if the job is killed.

The first line is JSON and says what the file belongs to. Then comes one record per region, in the order in which
regions are read. A record has a fixed size, its place in that order and a checksum.

The checksum shows a record that was cut off or lost in a power failure. The records before it are kept, and the next
start resumes after them. Two jobs on one slide write the same bytes to the same places.
"""

import errno
import json
import logging
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from slpd.errors import UserError

log = logging.getLogger(__name__)


class EncodedRegion(NamedTuple):
    """What the encoder found in a region."""

    tokens: NDArray[np.float16]  # (P, D)
    sharpness: float
    other_reader: bool = False  # another than the tokens state had to read it


UNREADABLE, READ, READ_BY_ANOTHER = range(3)  # what a record says of its region


class TokenJournal:
    """The finished regions of a slide, in order. Use as a context manager."""

    def __init__(self, path: Path, fingerprint: str, n_patches: int, width: int) -> None:
        """Open the journal, or begin a new one unless there is one of the same fingerprint and shape.

        Args:
            path: The file.
            fingerprint: Of everything that the tokens depend on.
            n_patches: P, patches per region.
            width: D, width of a token.
        """
        self.path = path
        self.dtype = np.dtype(
            [("place", "<u4"), ("reading", "u1"), ("sharpness", "<f4"), ("tokens", "<f2", (n_patches, width))]
        )
        self.size = self.dtype.itemsize + 4  # bytes of a record with its checksum
        self.header = json.dumps({"fingerprint": fingerprint, "n_patches": n_patches, "width": width}).encode() + b"\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self._open()
        self.sharpness: list[float] = []  # of every finished region; NaN: it could not be read
        self.other_reader: list[bool] = []  # whether another reader had to read it
        # A region that could not be read is tried again, since the slide may have been copied again.
        while (record := self._record(len(self))) is not None and record["reading"] != UNREADABLE:
            self.sharpness.append(float(record["sharpness"]))
            self.other_reader.append(bool(record["reading"] == READ_BY_ANOTHER))
        if self.sharpness:
            log.info("%s: resumes after region %d", path, len(self))

    def __enter__(self) -> Self:
        """The open journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. It stays until `remove`."""
        os.close(self.file)

    def __len__(self) -> int:
        """Number of finished regions."""
        return len(self.sharpness)

    def tokens(self, place: int) -> NDArray[np.float16]:
        """The (P, D) tokens of the region at a place in the order. The region must have been readable."""
        record = self._record(place)
        if record is None:
            raise UserError(f"{self.path}: record {place} was damaged since it was written; run again")
        tokens: NDArray[np.float16] = record["tokens"]
        return tokens

    def append(self, region: EncodedRegion | None) -> None:
        """Add the next region; None: it could not be read.

        Raises:
            UserError: the disk is full.
        """
        record = np.zeros((), self.dtype)
        record["place"] = len(self)
        if region is not None:
            record["reading"] = READ_BY_ANOTHER if region.other_reader else READ
            record["tokens"], record["sharpness"] = region.tokens, region.sharpness
        encoded = record.tobytes()
        self._write(encoded + zlib.crc32(encoded).to_bytes(4, "little"), self._offset(len(self)))
        self.sharpness.append(math.nan if region is None else region.sharpness)
        self.other_reader.append(region is not None and region.other_reader)

    def remove(self) -> None:
        """Remove the file, once the tokens are in their final file."""
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        """The open file, started over unless it has this header."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        header = os.pread(file, len(self.header), 0)
        if header == self.header:
            return file
        if header:
            log.warning("%s: damaged, or of other regions or settings; started over", self.path)
            os.close(file)
            self.path.unlink()
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self.file = file
        self._write(self.header, 0)
        return file

    def _offset(self, place: int) -> int:
        """Where a record begins, bytes."""
        return len(self.header) + place * self.size

    def _record(self, place: int) -> np.void | None:
        """The record at a place; None where it is missing or damaged."""
        encoded = os.pread(self.file, self.size, self._offset(place))
        if len(encoded) < self.size or zlib.crc32(encoded[:-4]).to_bytes(4, "little") != encoded[-4:]:
            return None
        record: np.void = np.frombuffer(encoded[:-4], self.dtype)[0]
        return record if record["place"] == place else None

    def _write(self, rest: bytes, offset: int) -> None:
        """Write all bytes at an offset."""
        try:
            while rest:
                written = os.pwrite(self.file, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise UserError(
                f"{self.path}: {error.strerror}; make room and run again, finished regions are kept"
            ) from error


def n_done(path: Path) -> int:
    """Number of regions that the next start keeps; 0 where there is no journal, or a damaged one."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.readline())
        with TokenJournal(path, **header) as journal:
            return len(journal)
    except (FileNotFoundError, ValueError, TypeError):
        return 0


def journal_path(tokens: Path) -> Path:
    """The journal of a token file, in the same folder."""
    return tokens.with_name(f"{tokens.name}.part")

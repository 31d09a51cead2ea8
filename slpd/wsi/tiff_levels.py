"""Where the tiles of a TIFF lie, and which of them only OpenSlide may see."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

JPEG = 7  # TIFF tag Compression
RGB, YCBCR = 2, 6  # TIFF tag PhotometricInterpretation
END = b"\xff\xd9"  # JPEG marker EOI
END_BYTES = 16  # of a JPEG tile, that hold the marker and what some writers pad tiles with
HEADER_BYTES = 4096  # of a JPEG tile; with tables of its own the header takes some 600
FRAME_HEADERS = {0xC0, 0xC1, 0xC2}  # JPEG markers SOF0-2: baseline, extended, progressive
WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}  # JPEG markers TEM, SOI and RST


class UnsuitableError(Exception):
    """A slide that cuCIM is not to read; the message says why."""


@dataclass(frozen=True)
class TiledLevel:
    """The tiles of one level: rows of tiles from top to bottom."""

    tile_size: tuple[int, int]  # (width, height), px
    offsets: NDArray[np.int64]  # (rows, columns), bytes
    sizes: NDArray[np.int64]  # (rows, columns), bytes; 0: left out by the scanner

    def tiles(self, left: int, top: int, width: int, height: int) -> list[tuple[int, int]]:
        """(row, column) of the tiles under a part of the level, in pixels of the level."""
        columns = range(left // self.tile_size[0], (left + width - 1) // self.tile_size[0] + 1)
        rows = range(top // self.tile_size[1], (top + height - 1) // self.tile_size[1] + 1)
        return list(product(rows, columns))


def jpeg_levels(path: Path, level_sizes: Sequence[tuple[int, int]]) -> list[TiledLevel]:
    """The tiles of every level of a TIFF slide.

    Args:
        path: The slide.
        level_sizes: (width, height) of the levels as OpenSlide finds them, px.

    Raises:
        UnsuitableError: the file is no TIFF, or a level is not made of JPEG tiles of 8-bit RGB.
    """
    with tifffile.TiffFile(path) as file:
        images = [page for page in file.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
        pages = [[page for page in images if (page.imagewidth, page.imagelength) == size] for size in level_sizes]
        return [jpeg_level(level, matching) for level, matching in enumerate(pages)]


def jpeg_level(level: int, pages: list[tifffile.TiffPage]) -> TiledLevel:
    """The tiles of a level, of which just one page of the file may have the size."""
    if len(pages) != 1:
        raise UnsuitableError(f"{len(pages)} tiled images have the size of level {level}")
    page = pages[0]
    if page.compression != JPEG:
        raise UnsuitableError(f"tiles of level {level} are {tifffile.COMPRESSION(page.compression).name}, not JPEG")
    kind = (page.bitspersample, page.samplesperpixel, page.planarconfig)
    if kind != (8, 3, 1) or page.photometric not in (RGB, YCBCR):
        raise UnsuitableError(f"level {level} is not interleaved 8-bit RGB or YCbCr")
    columns = -(-page.imagewidth // page.tilewidth)
    offsets, sizes = (
        np.array(values, np.int64).reshape(-1, columns) for values in (page.dataoffsets, page.databytecounts)
    )
    return TiledLevel((page.tilewidth, page.tilelength), offsets, sizes)


class TileCheck:
    """Tells which tiles of a file cuCIM may decode: those that state the right size and are complete."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - held as long as the slide is
        self._file_bytes = os.fstat(self._file.fileno()).st_size

    def passes(self, level: TiledLevel, row: int, column: int) -> bool:
        """Whether a tile is sound as far as its header and its end tell."""
        offset, size = int(level.offsets[row, column]), int(level.sizes[row, column])
        if not 0 < size <= self._file_bytes - offset:
            return False
        header = os.pread(self._file.fileno(), min(size, HEADER_BYTES), offset)
        return frame_size(header) == level.tile_size and not self.lacks_end(level, row, column)

    def lacks_end(self, level: TiledLevel, row: int, column: int) -> bool:
        """Whether a tile was begun but has no end: its writer omits ends, or its last bytes were lost."""
        offset, size = int(level.offsets[row, column]), int(level.sizes[row, column])
        n_bytes = min(size, END_BYTES)
        return size > 0 and END not in os.pread(self._file.fileno(), n_bytes, offset + size - n_bytes)


def frame_size(header: bytes) -> tuple[int, int] | None:
    """(width, height) that the beginning of a JPEG image states, px; None where it is no JPEG image.

    Source: ITU-T T.81, annex B: SOI, then segments of a marker, two bytes of length and as many of content.
    """
    if not header.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(header) and header[place] == 0xFF:
        marker = header[place + 1]
        if marker in FRAME_HEADERS:
            height, width = (int.from_bytes(header[place + i : place + i + 2]) for i in (5, 7))
            return width, height
        place += 2 if marker in WITHOUT_LENGTH else 2 + int.from_bytes(header[place + 2 : place + 4])
    return None

"""Where the tiles of a TIFF lie, and which of them cuCIM must not read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

JPEG = 7  # TIFF tag Compression
JPEG_2000 = {33003, 33005, 34712}  # the same
UPRIGHT = 1  # TIFF tag Orientation: row 0 is the top, column 0 the left side
RGB, YCBCR = 2, 6  # TIFF tag PhotometricInterpretation
BEGIN = (b"\xff\xd8", b"\xff\x4f")  # JPEG marker SOI, JPEG 2000 marker SOC
END = b"\xff\xd9"  # JPEG marker EOI, and JPEG 2000 marker EOC
END_BYTES = 16  # at the end of a tile: the marker, and padding of some writers
HEADER_BYTES = 4096  # of a JPEG tile; its header with tables takes about 600
FRAME_HEADERS = {0xC0, 0xC1, 0xC2}  # JPEG markers SOF0-2: baseline, extended, progressive
WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}  # JPEG markers TEM, SOI and RST


class UnsuitableError(Exception):
    """A slide that cuCIM must not read; the message says why."""


class ChannelsError(Exception):
    """A slide of which OpenSlide reads one of several channels; the message says so."""


@dataclass(frozen=True)
class TiledLevel:
    """The tiles of one level: rows of tiles from top to bottom."""

    tile_size: tuple[int, int]  # (width, height), px
    offsets: NDArray[np.int64]  # (rows, columns), bytes
    sizes: NDArray[np.int64]  # (rows, columns), bytes; 0: left out by the scanner
    compression: int  # TIFF tag Compression
    plain_rgb: bool  # interleaved 8-bit RGB or YCbCr
    page: tifffile.TiffPage  # which knows how its tiles are decoded

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the level, px."""
        return self.page.imagewidth, self.page.imagelength

    def tiles(self, left: int, top: int, width: int, height: int) -> list[tuple[int, int]]:
        """(row, column) of the tiles under a part of the level, in pixels of the level."""
        columns = range(left // self.tile_size[0], (left + width - 1) // self.tile_size[0] + 1)
        rows = range(top // self.tile_size[1], (top + height - 1) // self.tile_size[1] + 1)
        return list(product(rows, columns))

    def telling_tiles(self) -> list[tuple[int, int]]:
        """(row, column) of a few tiles: the last, and of each quarter the one of most bytes, thus of tissue."""
        rows, columns = self.sizes.shape
        tiles = {(rows - 1, columns - 1)}
        for top, bottom in ((0, rows // 2), (rows // 2, rows)):
            for left, right in ((0, columns // 2), (columns // 2, columns)):
                quarter = self.sizes[top:bottom, left:right]
                if quarter.size:
                    row, column = np.unravel_index(quarter.argmax(), quarter.shape)
                    tiles.add((top + int(row), left + int(column)))
        return sorted(tiles)


@dataclass(frozen=True)
class TiffStructure:
    """What a TIFF states and OpenSlide does not tell."""

    levels: list[TiledLevel]
    orientation: int  # TIFF tag Orientation of level 0; 1: upright
    coarser: list[TiledLevel]  # of a slide in which OpenSlide finds one level: those that it does not see, in SubIFDs


def tiff_structure(path: Path, level_sizes: Sequence[tuple[int, int]]) -> TiffStructure:
    """The tiles of every level of a TIFF slide, and its orientation.

    Args:
        path: The slide.
        level_sizes: (width, height) of the levels as OpenSlide finds them, px.

    Raises:
        UnsuitableError: a level is not just one tiled image of the file.
        ChannelsError: its channels are images of their own.
        tifffile.TiffFileError: the file is no TIFF.
    """
    with tifffile.TiffFile(path) as file:
        images = [page for page in file.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
        pages = [[page for page in images if (page.imagewidth, page.imagelength) == size] for size in level_sizes]
        refuse_single_channels(pages[0])
        levels = [tiled_level(level, matching) for level, matching in enumerate(pages)]
        coarser = subifd_levels(pages[0][0]) if len(levels) == 1 else []
        return TiffStructure(levels, int(pages[0][0].tags.valueof("Orientation", default=UPRIGHT)), coarser)


def subifd_levels(page: tifffile.TiffPage) -> list[TiledLevel]:
    """The tiled images in the SubIFDs of a level, each smaller than the one before and of 8-bit RGB, as OME-TIFFs."""
    levels: list[TiledLevel] = []
    width = page.imagewidth
    for number, smaller in enumerate(page.pages or []):
        if not (isinstance(smaller, tifffile.TiffPage) and smaller.is_tiled and smaller.imagewidth < width):
            break
        level = tiled_level(number + 1, [smaller])
        if not level.plain_rgb:
            break
        levels.append(level)
        width = smaller.imagewidth
    return levels


def refuse_single_channels(pages: list[tifffile.TiffPage]) -> None:
    """Refuse a level 0 whose images are channels: of fluorescence, or red, green and blue one by one."""
    if len(pages) > 1 and all(page.samplesperpixel == 1 for page in pages):
        raise ChannelsError(f"it holds {len(pages)} channels as images of their own, and OpenSlide reads one, not RGB")


def tiled_level(level: int, pages: list[tifffile.TiffPage]) -> TiledLevel:
    """The tiles of a level. Exactly one page of the file must have its size."""
    if len(pages) != 1:
        raise UnsuitableError(f"{len(pages)} tiled images have the size of level {level}")
    page = pages[0]
    if page.compression == JPEG:
        _ = page.is_jfif  # the decoder of tiles needs it later, when the file is closed
    columns = -(-page.imagewidth // page.tilewidth)
    offsets, sizes = (
        np.array(values, np.int64).reshape(-1, columns) for values in (page.dataoffsets, page.databytecounts)
    )
    kind = (page.bitspersample, page.samplesperpixel, page.planarconfig)
    plain_rgb = kind == (8, 3, 1) and page.photometric in (RGB, YCBCR)
    return TiledLevel((page.tilewidth, page.tilelength), offsets, sizes, int(page.compression), plain_rgb, page)


def refuse_other_than_jpeg(levels: list[TiledLevel]) -> None:
    """Refuse levels that cuCIM may not decode.

    Raises:
        UnsuitableError: a level is not made of JPEG tiles of 8-bit RGB.
    """
    for number, level in enumerate(levels):
        if level.compression != JPEG:
            name = tifffile.COMPRESSION(level.compression).name
            raise UnsuitableError(f"tiles of level {number} are {name}, not JPEG")
        if not level.plain_rgb:
            raise UnsuitableError(f"level {number} is not interleaved 8-bit RGB or YCbCr")


class TileCheck:
    """Tells from their bytes which tiles of a file are intact.

    Attributes:
        levels: The tiles of every level.
    """

    def __init__(self, path: Path, levels: list[TiledLevel]) -> None:
        self.levels = levels
        self._file = open(path, "rb")  # noqa: SIM115 - open as long as the slide is
        self._file_bytes = os.fstat(self._file.fileno()).st_size
        self._writer_ends_tiles = self._most_tiles_end()

    def passes(self, level: int, row: int, column: int) -> bool:
        """Whether a JPEG tile lies in the file, states the right size and has its end: cuCIM may decode it."""
        tiles = self.levels[level]
        if not 0 < tiles.sizes[row, column] <= self._file_bytes - tiles.offsets[row, column]:
            return False
        return frame_size(self._begin(level, row, column)) == tiles.tile_size and self._has_end(level, row, column)

    def cut_tile(self, level: int, left: int, top: int, width: int, height: int) -> tuple[int, int] | None:
        """(row, column) of the first tile under a part of a level that was begun and has lost its end.

        Decoders may fill what was lost with a flat colour. None as well where the slide's writer leaves out the end of
        most tiles, and of compressions without one.
        """
        tiles = self.levels[level]
        if self._writer_ends_tiles and (tiles.compression == JPEG or tiles.compression in JPEG_2000):
            for row, column in tiles.tiles(left, top, width, height):
                if tiles.sizes[row, column] and not self._has_end(level, row, column):
                    return row, column
        return None

    def _most_tiles_end(self) -> bool:
        """Whether most of the telling tiles that begin as an image also end as one."""
        begun = [
            self._has_end(level, row, column)
            for level, tiles in enumerate(self.levels)
            for row, column in tiles.telling_tiles()
            if self._begin(level, row, column).startswith(BEGIN)
        ]
        return 2 * sum(begun) > len(begun)

    def content(self, level: int, row: int, column: int) -> bytes:
        """All bytes of a tile."""
        tiles = self.levels[level]
        return os.pread(self._file.fileno(), int(tiles.sizes[row, column]), int(tiles.offsets[row, column]))

    def _begin(self, level: int, row: int, column: int) -> bytes:
        """The first bytes of a tile."""
        tiles = self.levels[level]
        return os.pread(
            self._file.fileno(), min(int(tiles.sizes[row, column]), HEADER_BYTES), int(tiles.offsets[row, column])
        )

    def _has_end(self, level: int, row: int, column: int) -> bool:
        """Whether the end marker is among the last bytes of a tile."""
        tiles = self.levels[level]
        offset, size = int(tiles.offsets[row, column]), int(tiles.sizes[row, column])
        n_bytes = min(size, END_BYTES)
        return END in os.pread(self._file.fileno(), n_bytes, offset + size - n_bytes)


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

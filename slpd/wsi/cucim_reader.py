"""Reads pixels through cuCIM, where it has been found to read them as OpenSlide does."""

import ctypes
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from slpd.wsi.openslide_reader import OpenSlideReader, UnreadableTileError
from slpd.wsi.tiff_levels import TileCheck, UnsuitableError, refuse_other_than_jpeg

Pixels = NDArray[np.uint8] | NDArray[np.float32]  # (height, width, 3)

STDOUT = 1
CORRUPT = "Corrupt JPEG data"  # libjpeg says so of data that do not fit their tile, but not of a missing end alone
ROUNDING = 2  # grey levels: OpenSlide's linear interpolation has 8-bit weights


class CucimReader:
    """A slide that cuCIM reads.

    Its JPEG decoder does not fail on a damaged tile, but it complains on standard output, which therefore leads to a
    file in memory: a complaint sends the whole part to OpenSlide. Parts with tiles that do not even look sound never
    reach cuCIM. Tiles are not cached, so that a tile is complained about each time. Scanners whose every tile makes it
    complain, say by padding, do not pass `probe`.

    Nor do writers that omit the end of every tile.

    Attributes:
        name: Of the reader, for messages.
        equality: What `probe` finds of the slide's pixels.
        n_otherwise: Parts so far that OpenSlide had to read with other pixels. On a CPU they are the same pixels: none.
    """

    n_otherwise = 0
    name, equality = "cuCIM", "equal to OpenSlide"

    def __init__(self, path: Path, other: OpenSlideReader, check: TileCheck) -> None:
        refuse_other_than_jpeg(check.levels)
        from cucim.clara import CuImage  # noqa: PLC0415 - 0.2 s, wasted on slides that it does not read

        CuImage.cache("nocache")
        self._check, self._other = check, other
        self._complaints = os.memfd_create("complaints")
        os.dup2(self._complaints, STDOUT)
        self._libc = ctypes.CDLL(None)
        self._image = CuImage(str(path))
        self._check_levels()

    def _check_levels(self) -> None:
        expected = tuple(self._other.slide.level_dimensions)
        found = tuple(tuple(size) for size in self._image.resolutions["level_dimensions"])
        if found != expected:
            raise UnsuitableError(f"cuCIM finds levels of {found} px, OpenSlide of {expected}")

    def read(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB pixels of a part inside a level; arguments and errors as for OpenSlideReader."""
        tiles = self._check.levels[level].tiles(left, top, width, height)
        complaint = ""
        if all(self._may_decode(level, *tile) for tile in tiles):
            pixels, complaint = self.decode(level, left, top, width, height)
            if not complaint:
                return pixels
        pixels = self._read_otherwise(level, left, top, width, height)
        if CORRUPT in complaint:  # which OpenSlide did not notice
            raise UnreadableTileError(self._locate(level, tiles))
        return pixels

    def _may_decode(self, level: int, row: int, column: int) -> bool:
        """Whether a tile looks sound; `decode` tells of the rest."""
        return self._check.passes(level, row, column)

    def _read_otherwise(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """The part through OpenSlide."""
        return self._other.read(level, left, top, width, height)

    def _locate(self, level: int, tiles: list[tuple[int, int]]) -> str:
        """Where the first tile with corrupt data lies, and what shows that it is corrupt."""
        width, height = self._check.levels[level].tile_size
        for row, column in tiles:
            complaint = self.decode(level, column * width, row * height, 1, 1)[1]
            if CORRUPT in complaint:
                break
        return self._other.message(level, column * width, row * height, complaint.splitlines()[-1])

    def decode(self, level: int, left: int, top: int, width: int, height: int) -> tuple[NDArray[np.uint8], str]:
        """The pixels that cuCIM reads, and its complaint, if any."""
        downsample = self._other.slide.level_downsamples[level]
        # cuCIM rounds positions down to a pixel of the level, so the middle of the pixel is given.
        place = tuple(int((length + 0.5) * downsample) for length in (left, top))
        pixels = self._pixels(place, (width, height), level)
        self._libc.fflush(None)
        length = os.fstat(self._complaints).st_size
        complaint = os.pread(self._complaints, length, 0).decode(errors="replace")
        os.ftruncate(self._complaints, 0)
        os.lseek(self._complaints, 0, os.SEEK_SET)
        return pixels, complaint

    def _pixels(self, place: tuple[int, ...], size: tuple[int, int], level: int) -> NDArray[np.uint8]:
        """(height, width, 3) pixels from a place on, level-0 pixels."""
        return np.asarray(self._image.read_region(place, size, level, num_workers=self._other.threads))

    def probe(self) -> str:
        """Compare a few tiles of every level with OpenSlide.

        Returns:
            How many were equal.

        Raises:
            UnsuitableError: a tile differs, or OpenSlide could read none.
        """
        equal = 0
        for level, tiles in enumerate(self._check.levels):
            for row, column in tiles.telling_tiles():
                equal += self._tile_is_equal(level, row, column)
        if not equal:
            raise UnsuitableError("no tile to compare with OpenSlide")
        return f"{self.equality}, tiles compared: {equal}"

    def _tile_is_equal(self, level: int, row: int, column: int) -> bool:
        """Whether a tile could be compared. If so, it must be equal.

        A tile of another size than the level's, left out or damaged is none to compare: `read` leaves it to OpenSlide.
        Where OpenSlide reads between the pixels of a level, it mixes the outermost ones of a tile with those of the
        tiles around. They are not compared: to decode four tiles for one takes most of the time of opening a slide.
        """
        tiled, size = self._check.levels[level], self._other.slide.level_dimensions[level]
        left, top = column * tiled.tile_size[0], row * tiled.tile_size[1]
        width, height = min(tiled.tile_size[0], size[0] - left), min(tiled.tile_size[1], size[1] - top)
        margin = int(any(self._shift(level, left, top)))
        inner = (left + margin, top + margin, width - 2 * margin, height - 2 * margin)
        if min(inner[2:]) < 1 or not self._may_decode(level, row, column):
            return False
        try:
            expected = self._other.read(level, *inner)
        except UnreadableTileError:
            return False
        tile, complaint = self.decode(level, left, top, width, height)
        if complaint:
            return False
        found = between_pixels(tile, *self._shift(level, *inner[:2])) if margin else tile
        if not self._agree(found, expected, ROUNDING * margin):
            raise UnsuitableError(f"{self.name} and OpenSlide differ at level {level}, x {left}, y {top}")
        return True

    def _shift(self, level: int, left: int, top: int) -> tuple[float, float]:
        """How far right and down of a level pixel OpenSlide reads, pixels of the level."""
        downsample = self._other.slide.level_downsamples[level]
        across, down = (round(length * downsample) / downsample - length for length in (left, top))
        return across, down

    def _agree(self, pixels: Pixels, expected: NDArray[np.uint8], rounding: int) -> bool:
        """Whether two readings of a tile, (height, width, 3), are one image but for rounding, grey levels."""
        if not rounding:
            return np.array_equal(pixels, expected)
        return bool(np.abs(pixels - expected).max() <= rounding)


def between_pixels(tile: NDArray[np.uint8], across: float, down: float) -> Pixels:
    """A tile as OpenSlide reads it `across` and `down` of its pixels (-1 to 1), without the outermost of them."""
    rows = mixed(tile[1:-1], tile[2:] if down > 0 else tile[:-2], down)
    return mixed(rows[:, 1:-1], rows[:, 2:] if across > 0 else rows[:, :-2], across)


def mixed(pixels: Pixels, neighbours: Pixels, shift: float) -> Pixels:
    """Pixels moved by `shift` (-1 to 1) towards their neighbours, without rounding."""
    return cv2.addWeighted(pixels, 1 - abs(shift), neighbours, abs(shift), 0, dtype=cv2.CV_32F)  # type: ignore[return-value]

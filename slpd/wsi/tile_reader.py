"""Tiles of a plain TIFF decoded one by one: of levels that OpenSlide does not see, and of overviews of huge levels.

OME-TIFFs keep their coarser levels in SubIFDs, where OpenSlide does not look. And a slide without a pyramid has its
overview made of all its pixels, for which decoding its tiles into the strip takes a tenth of OpenSlide's time.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from slpd.wsi.holes import Holes, LevelReader, Part
from slpd.wsi.openslide_reader import OpenSlideReader, UnreadableTileError
from slpd.wsi.tiff_levels import JPEG, TileCheck, TiledLevel, UnsuitableError

Pixels = NDArray[np.uint8]  # (height, width, 3)


class TileReader:
    """Reads parts of levels tile by tile.

    A JPEG tile must lie in the file, state the right size and have its end; other tiles must decode.
    Impossible codes within a JPEG tile, which OpenSlide refuses, go unseen: regions of level 0 are never read this way.

    Args:
        plain: The slide in OpenSlide, which must read the finest level alike.
        levels: The tiles of every level.

    Raises:
        UnsuitableError: tiles are decoded otherwise than by OpenSlide.
    """

    def __init__(self, plain: OpenSlideReader, levels: list[TiledLevel]) -> None:
        self._plain, self._check = plain, TileCheck(plain.path, levels)
        self._sizes = tuple(level.size for level in levels)
        self._holes = Holes(self._check, self._sizes)
        self._compare()

    def _compare(self) -> None:
        """Compare a few tiles of the finest level with OpenSlide.

        Raises:
            UnsuitableError: one differs, or none could be compared.
        """
        level, size, n_equal = self._check.levels[0], self._sizes[0], 0
        for row, column in level.telling_tiles():
            left, top = column * level.tile_size[0], row * level.tile_size[1]
            part = (left, top, min(level.tile_size[0], size[0] - left), min(level.tile_size[1], size[1] - top))
            try:
                expected, decoded = self._plain.read(0, *part), self.read(0, *part)
            except UnreadableTileError:
                continue
            if not np.array_equal(expected, decoded):
                raise UnsuitableError(f"tile at x {left}, y {top} decodes otherwise than in OpenSlide")
            n_equal += 1
        if not n_equal:
            raise UnsuitableError("no tile to compare with OpenSlide")

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """(height, width, 3) RGB pixels of a part inside a level; arguments and errors as for OpenSlideReader."""
        tiles = self._check.levels[level]
        pixels = np.full((height, width, 3), 255, np.uint8)

        def paste(place: tuple[int, int]) -> None:
            if not tiles.sizes[place]:
                return
            y, x = (place[axis] * tiles.tile_size[1 - axis] - (top, left)[axis] for axis in (0, 1))
            tile = self._decoded(level, *place)[max(0, -y) :, max(0, -x) :]
            target = pixels[max(0, y) :, max(0, x) :][: tile.shape[0], : tile.shape[1]]
            target[:] = tile[: target.shape[0], : target.shape[1]]

        with ThreadPoolExecutor(self._plain.threads) as pool:
            list(pool.map(paste, tiles.tiles(left, top, width, height)))
        part = Part(level, left, top, left + width, top + height)
        if lost := self._holes.fill(Finest(self._plain, self), part, pixels):
            raise UnreadableTileError(
                self._message(level, lost.left, lost.top, "the tile is missing, not its overview")
            )
        return pixels

    def _decoded(self, level: int, row: int, column: int) -> Pixels:
        tiles = self._check.levels[level]
        try:
            if tiles.compression == JPEG and not self._check.passes(level, row, column):
                raise ValueError("the tile is damaged")
            return decode(tiles, self._check.content(level, row, column), row, column)
        except Exception as error:  # a codec may raise anything
            width, height = tiles.tile_size
            raise UnreadableTileError(self._message(level, column * width, row * height, str(error))) from error

    def _message(self, level: int, left: int, top: int, reason: str) -> str:
        """The message about a tile that cannot be decoded. Its corner is given in pixels of the level."""
        place = [round(here * self._sizes[0][0] / self._sizes[level][0]) for here in (left, top)]
        return f"level {level} cannot be read at x {place[0]}, y {place[1]} ({reason})"


class Finest:
    """Level 0 through one reader, coarser levels tile by tile."""

    def __init__(self, finest: LevelReader, coarser: TileReader) -> None:
        self._finest, self._coarser = finest, coarser

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """(height, width, 3) RGB pixels of a part inside a level; arguments and errors as for OpenSlideReader."""
        return (self._coarser if level else self._finest).read(level, left, top, width, height)


def decode(tiles: TiledLevel, content: bytes, row: int, column: int) -> Pixels:
    """(height, width, 3) pixels of a tile, cut off at the edge of the level."""
    decoded = tiles.page.decode(content, row * tiles.sizes.shape[1] + column)[0]
    if decoded is None:
        raise ValueError("it is empty")
    pixels: Pixels = decoded[0]
    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
        raise ValueError(f"it is {pixels.dtype} of {pixels.shape[2]} channels")
    return pixels

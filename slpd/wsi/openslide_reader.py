"""Reads pixels through OpenSlide. It knows every format, and a tile that it refuses is unreadable."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from slpd.wsi.holes import Holes, Part
from slpd.wsi.tiff_levels import TileCheck

PIECE_COLUMNS = 4096  # OpenSlide splits wider parts itself, and places the pieces inaccurately at odd downsamples
PIECE_ROWS = 1024  # four rows of usual tiles, so that several pieces can be decoded at once and few tiles lie in two
TILE_PX = 256  # for formats whose tile size OpenSlide does not report


class UnreadableTileError(Exception):
    """A tile cannot be decoded."""


class OpenSlideReader:
    """An open slide.

    Places in OpenSlide are level-0 pixels, and where a downsample is not whole, most pixels of the level begin between
    two of them. The nearer one, at most half a level-0 pixel off, is asked for; OpenSlide then interpolates linearly
    between the level's pixels. On a slide of downsample 2.0005 that moves pixels by up to a quarter of one: by 2 to 3
    grey levels on average, 16 in 1 %, 46 at most. cuCIM reads whole pixels of the level.

    Attributes:
        slide: The handle. It is replaced after an error, since OpenSlide's handles become unusable then.
        check: Finds tiles without end, which OpenSlide may fill with a flat colour; None: they are not looked for.
        holes: Fills tiles that a level does not have from finer levels; None: they are white.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.slide = openslide.OpenSlide(path)
        self.check: TileCheck | None = None
        self.holes: Holes | None = None

    def look_at_tiles(self, check: TileCheck | None) -> None:
        """From now on look for tiles without an end, and for holes; None: the slide's tiles are not known."""
        self.check = check
        self.holes = Holes(check, self.slide.level_dimensions) if check else None

    def read(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB pixels of a part inside a level; what the scanner left out is white.

        Args:
            level: The level.
            left: Left edge, pixels of the level.
            top: Upper edge, pixels of the level.
            width: Pixels of the level.
            height: Pixels of the level.

        Raises:
            UnreadableTileError: naming level, place and OpenSlide's reason.
        """
        cut = self.check.cut_tile(level, left, top, width, height) if self.check else None
        if self.check and cut:
            row, column = cut
            tile = self.check.levels[level].tile_size
            raise UnreadableTileError(self.message(level, column * tile[0], row * tile[1], "the tile is cut short"))
        pixels = np.empty((height, width, 3), np.uint8)

        def read_piece(corner: tuple[int, int]) -> None:
            y, x = corner
            piece = pixels[y : y + PIECE_ROWS, x : x + PIECE_COLUMNS]
            piece[:] = self._read_piece(level, left + x, top + y, piece.shape[1], piece.shape[0])

        corners = list(product(range(0, height, PIECE_ROWS), range(0, width, PIECE_COLUMNS)))
        try:
            if len(corners) == 1:  # a thread takes half as long as a tile
                read_piece(corners[0])
            else:
                with ThreadPoolExecutor(self.threads) as pool:
                    list(pool.map(read_piece, corners))
        except openslide.OpenSlideError as error:
            raise UnreadableTileError(self._locate(level, left, top, width, height, str(error))) from error
        lost = self.holes.fill(self, Part(level, left, top, left + width, top + height), pixels) if self.holes else None
        if lost:
            raise UnreadableTileError(self.message(level, lost.left, lost.top, "the tile is missing, not its overview"))
        return pixels

    def _read_piece(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        downsample = self.slide.level_downsamples[level]
        place = (round(left * downsample), round(top * downsample))
        rgba: NDArray[np.uint8] = np.asarray(self.slide.read_region(place, level, (width, height)))
        rgb, alpha = rgba[..., :3], rgba[..., 3:]
        if alpha.min() == 255:
            return rgb
        covered = rgb.astype(np.uint16) * alpha + np.uint16(255) * (255 - alpha)  # at most 255 * 255
        white: NDArray[np.uint8] = ((covered + 127) // 255).astype(np.uint8)
        return white

    def _locate(self, level: int, left: int, top: int, width: int, height: int, reason: str) -> str:
        """Message about the first unreadable tile of a part. Leaves a usable handle."""
        self._reopen()
        tile = self.tile_size(level)
        rows = range(top // tile[1] * tile[1], top + height, tile[1])
        columns = range(left // tile[0] * tile[0], left + width, tile[0])
        for y, x in product(rows, columns):
            try:
                self._read_piece(level, x, y, tile[0], tile[1])
            except openslide.OpenSlideError as error:
                self._reopen()
                left, top, reason = x, y, str(error)
                break
        return self.message(level, left, top, reason)

    def tile_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level's tiles, px; the usual size where OpenSlide does not report it."""
        names = (f"openslide.level[{level}].tile-{side}" for side in ("width", "height"))
        width, height = (int(self.slide.properties.get(name, TILE_PX)) for name in names)
        return width, height

    def message(self, level: int, left: int, top: int, reason: str) -> str:
        """The message about a tile that cannot be decoded. Its corner is given in pixels of the level."""
        downsample = self.slide.level_downsamples[level]
        return f"level {level} cannot be read at x {round(left * downsample)}, y {round(top * downsample)} ({reason})"

    def _reopen(self) -> None:
        self.slide.close()
        self.slide = openslide.OpenSlide(self.path)

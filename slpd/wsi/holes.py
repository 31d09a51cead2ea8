"""Tiles that are missing from a TIFF level although another level shows what lies there.

Scanners leave out tiles of glass, at every level alike: those are white. A hole over a tile of a finer level comes from
a writer that was interrupted or that leaves out by other rules, and is read from there. One in the finest level that
has the place, while a coarser one shows tissue, is a tile that was lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slpd.geometry.area_resample import area_resample
from slpd.wsi.tiff_levels import TileCheck

DARK = 200  # grey level of the darkest channel; glass is brighter, even where JPEG rings near tissue
DARK_SHARE = 0.05  # of a hole's pixels in the coarser level, above which something lies there

Pixels = NDArray[np.uint8]  # (height, width, 3)


class LevelReader(Protocol):
    """Reads parts of levels with their holes filled."""

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Pixels:
        """(height, width, 3) RGB pixels of a part inside a level."""


@dataclass(frozen=True)
class Part:
    """A rectangle of a level, in its pixels."""

    level: int
    left: int
    top: int
    right: int
    bottom: int


class Holes:
    """Finds and fills the holes of a slide.

    Args:
        check: The tiles of every level.
        sizes: (width, height) of every level, px.
    """

    def __init__(self, check: TileCheck, sizes: tuple[tuple[int, int], ...]) -> None:
        self._check, self._sizes = check, sizes
        self._levels = [level for level, tiles in enumerate(check.levels) if not tiles.sizes.all()]

    def fill(self, reader: LevelReader, part: Part, pixels: Pixels) -> Part | None:
        """Fill the holes of a part that finer levels have; the first one that only a coarser level shows, if any.

        Args:
            reader: Reads finer and coarser levels.
            part: Where the pixels are from.
            pixels: (height, width, 3) of the part; holes are filled in place.
        """
        if part.level not in self._levels:
            return None
        for hole in self._holes(part):
            finer = [level for level in range(hole.level) if self._has_any(self._on(level, hole))]
            if finer:
                target = pixels[
                    hole.top - part.top : hole.bottom - part.top, hole.left - part.left : hole.right - part.left
                ]
                target[:] = self._resampled(reader, self._on(finer[-1], hole), target.shape)
            elif self._is_seen(reader, hole):
                return hole
        return None

    def _holes(self, part: Part) -> Iterator[Part]:
        tiles = self._check.levels[part.level]
        width, height = tiles.tile_size
        for row, column in tiles.tiles(part.left, part.top, part.right - part.left, part.bottom - part.top):
            if not tiles.sizes[row, column]:
                left, top = max(part.left, column * width), max(part.top, row * height)
                right, bottom = min(part.right, (column + 1) * width), min(part.bottom, (row + 1) * height)
                yield Part(part.level, left, top, right, bottom)

    def _on(self, level: int, part: Part) -> Part:
        """The same area on another level, at least one pixel."""
        across, down = (there / here for there, here in zip(self._sizes[level], self._sizes[part.level], strict=True))
        left, top = (
            min(round(part.left * across), self._sizes[level][0] - 1),
            min(round(part.top * down), self._sizes[level][1] - 1),
        )
        right = min(max(round(part.right * across), left + 1), self._sizes[level][0])
        bottom = min(max(round(part.bottom * down), top + 1), self._sizes[level][1])
        return Part(level, left, top, right, bottom)

    def _has_any(self, part: Part) -> bool:
        """Whether the level has a tile under the part."""
        tiles = self._check.levels[part.level]
        under = tiles.tiles(part.left, part.top, part.right - part.left, part.bottom - part.top)
        return any(tiles.sizes[row, column] for row, column in under)

    def _is_seen(self, reader: LevelReader, hole: Part) -> bool:
        """Whether the next coarser level that has the place shows more than glass there."""
        coarser = (self._on(level, hole) for level in range(hole.level + 1, len(self._sizes)))
        seen = next((part for part in coarser if self._has_any(part)), None)
        return seen is not None and bool((whole(reader, seen).min(axis=2) < DARK).mean() > DARK_SHARE)

    def _resampled(self, reader: LevelReader, part: Part, shape: tuple[int, ...]) -> Pixels:
        """(h, w, 3) pixels of a part, averaged by area."""
        result = np.empty(shape, np.uint8)
        pixels = whole(reader, part)
        area_resample([pixels], pixels.shape[:2], result)
        return result


def whole(reader: LevelReader, part: Part) -> Pixels:
    """The pixels of a part."""
    return reader.read(part.level, part.left, part.top, part.right - part.left, part.bottom - part.top)

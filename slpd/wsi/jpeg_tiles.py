"""Compressed tiles of a TIFF as JPEG images that any decoder takes, and which of them it may see.

Tiles may lack their tables, which the TIFF then holds once for all of them, and their colours mean what the TIFF says,
whatever a decoder would guess. Source: ITU-T T.81, annex B; Adobe's APP14 segment is that of ITU-T T.872, 6.5.3.
"""

import re
from pathlib import Path

from slpd.wsi.tiff_levels import (
    END,
    END_BYTES,
    HEADER_BYTES,
    WITHOUT_LENGTH,
    YCBCR,
    TileCheck,
    TiledLevel,
    UnsuitableError,
    frame_size,
    refuse_other_than_jpeg,
)

SOI = b"\xff\xd8"
SOS, COMMENT = 0xDA, 0xFE
DESCRIPTIONS = {*range(0xE0, 0xF0), COMMENT}  # markers APP0-15 and COM: nothing that decodes, but guesses of colours
# In coded data 0xFF comes before 0 or a restart marker; the first other marker ends a baseline image.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
FLAT = bytes(64)  # coded data have no such run of zeros; an interrupted copy has


class DamagedTileError(Exception):
    """A tile that a decoder on a GPU, which does not complain of damage, is not to see."""


class JpegTiles:
    """The compressed tiles of one level."""

    def __init__(self, path: Path, level: TiledLevel) -> None:
        """Look into the file.

        Raises:
            UnsuitableError: the level is not made of JPEG tiles of 8-bit RGB.
        """
        refuse_other_than_jpeg([level])
        self.level = level
        self._check = TileCheck(path, [level])
        self._begin = SOI + colours_segment(level.page.photometric == YCBCR) + tables_of(level)

    def image(self, row: int, column: int) -> bytes:
        """A tile as a JPEG image.

        Raises:
            DamagedTileError: it is left out, lies outside the file, or does not look sound.
        """
        tile = self._check.content(0, row, column)
        if not tile or len(tile) < self.level.sizes[row, column]:
            raise DamagedTileError(f"tile {row}, {column} is not in the file")
        if frame_size(tile[:HEADER_BYTES]) != self.level.tile_size or END not in tile[-END_BYTES:]:
            raise DamagedTileError(f"tile {row}, {column} states another size or has no end")
        return self._begin + checked_body(tile, f"tile {row}, {column}")


def colours_segment(are_ycbcr: bool) -> bytes:
    """Adobe's APP14 segment: three channels are YCbCr, or RGB."""
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([are_ycbcr])


def tables_of(level: TiledLevel) -> bytes:
    """The segments of the tables that the tiles of a level share, if there are any."""
    tables = level.page.jpegtables
    if tables is None:
        return b""
    if not tables.startswith(SOI) or not tables.endswith(END):
        raise UnsuitableError("its JPEG tables have no begin or no end")
    return bytes(tables[len(SOI) : -len(END)])


def checked_body(tile: bytes, name: str) -> bytes:
    """A tile from its own tables on, without segments that only describe it.

    Raises:
        DamagedTileError: its header ends too early, or its coded data hold a marker or zeros where there can be none.
    """
    kept, place = [], len(SOI)
    while tile[place : place + 1] == b"\xff":
        marker = tile[place + 1]
        if marker == SOS:
            break
        end = place + 2 + (0 if marker in WITHOUT_LENGTH else int.from_bytes(tile[place + 2 : place + 4]))
        if marker not in DESCRIPTIONS:
            kept.append(tile[place:end])
        place = end
    else:
        raise DamagedTileError(f"{name} has no coded data")
    coded = place + 2 + int.from_bytes(tile[place + 2 : place + 4])
    marked = MARKER.search(tile, coded)
    if marked is None or marked[0] != END or FLAT in tile[coded : marked.start()]:
        raise DamagedTileError(f"{name} has coded data that cannot be")
    return b"".join([*kept, tile[place : marked.end()]])

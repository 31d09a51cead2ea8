"""Messages between a slide and its reading process.

Pixels are not part of the messages. They lie in shared memory: (height, width, 3) bytes from an offset on.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

Reader = Literal["auto", "cucim_gpu", "cucim", "openslide"]  # auto: cucim if it reads a slide as OpenSlide does

NEEDS = struct.Struct("=ii")  # to the nursery: a Need, and a process id
STATUS = struct.Struct("=i")  # its answer: a process id or an exit status


class Need(IntEnum):
    """What the nursery is asked to do."""

    READER = 1  # sent with file descriptors of its connection and memory
    END = 2  # of a reading process
    CUCIM = 3  # to be imported for later readers


@dataclass(frozen=True)
class OpenSlideFile:
    """Asks to open a slide; answered by OpenedSlide or Refusal."""

    path: Path
    reader: Reader


@dataclass(frozen=True)
class OpenedSlide:
    """What OpenSlide knows of a slide, and which library reads its pixels."""

    level_sizes: tuple[tuple[int, int], ...]  # (width, height), px
    downsamples: tuple[float, ...]  # level-0 pixels per pixel
    mpp: tuple[str | None, str | None]  # µm per level-0 pixel across and down, as the file writes it
    quick_hash: str | None
    reader: Literal["cucim_gpu", "cucim", "openslide"]
    reader_reason: str
    n_plain: int  # levels, from the finest on, that are tiled images of a plain TIFF pyramid; 0: it is none


@dataclass(frozen=True)
class Refusal:
    """A slide that cannot be opened or read."""

    reason: str


@dataclass(frozen=True)
class ReadPart:
    """Asks for a part of a level, resampled by area; answered by PartRead, UnreadableRegion or Refusal."""

    x_lv0: int  # left edge, level-0 pixels
    y_lv0: int
    level: int
    level_size: tuple[int, int]  # (width, height) read from the level, px
    size: tuple[int, int]  # (width, height) after resampling, px
    offset: int  # of the pixels in the shared memory, bytes
    white_gaps: bool = False  # for a whole level: what cannot be decoded becomes white, unless nothing can

    @property
    def n_bytes(self) -> int:
        """Bytes of the pixels."""
        return self.size[0] * self.size[1] * 3


@dataclass(frozen=True)
class PartRead:
    """A part whose pixels are in memory."""

    n_white: int  # squares that cannot be decoded
    reader: str  # that read it: the slide's, or OpenSlide where a GPU could not


@dataclass(frozen=True)
class UnreadableRegion:
    """A region with a tile that cannot be decoded."""

    x_lv0: int  # the region's corner, level-0 pixels
    y_lv0: int
    reason: str  # with the place of the tile

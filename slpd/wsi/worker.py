"""The work of a reading process.

It imports little and ends when its slide is closed. It answers requests in order, so that regions requested ahead are
decoded while the other process works.
"""

import logging
import mmap
import os
import time
from collections.abc import Iterator
from itertools import product
from multiprocessing.connection import Connection

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray

from slpd.geometry.area_resample import area_resample
from slpd.wsi.cucim_gpu_reader import CucimGpuReader
from slpd.wsi.cucim_reader import CucimReader
from slpd.wsi.levels import WHOLE_PX, Levels, distorted_level, levels_of, why
from slpd.wsi.messages import OpenedSlide, OpenSlideFile, PartRead, ReadPart, Refusal, UnreadableRegion
from slpd.wsi.openslide_reader import OpenSlideReader, UnreadableTileError
from slpd.wsi.refusals import why_no_slide
from slpd.wsi.tiff_levels import UPRIGHT, ChannelsError, TiffStructure, TileCheck, UnsuitableError, tiff_structure

log = logging.getLogger(__name__)

PROGRESS_S = 10.0  # between lines of the log on an overview that takes long
MAX_THREADS = 8  # for decoding one region
STRIP_PX = 2**24  # decoded at a time, of a region too large to be decoded whole: 50 MB, or one row of tiles
SQUARE_PX = 512  # side of the square that becomes white in a thumbnail if a tile cannot be decoded
# Vendors, as OpenSlide names them, whose files are plain pyramids of TIFF images. In files of others cuCIM may mistake
# another image for a level, and tiles may lie elsewhere.
VENDORS = ("generic-tiff", "aperio")


class MisorientedError(Exception):
    """A slide whose rows and columns do not run from its upper left corner."""


def read_slide(asker: int, memory: int) -> None:
    """Answer requests until the slide is closed or the other process is gone.

    Args:
        asker: File descriptor of the connection to it.
        memory: File descriptor of the shared memory.
    """
    connection = Connection(asker)
    try:
        request: OpenSlideFile = connection.recv()
        answer, part_reader = open_slide(request, memory)
        connection.send(answer)
        while part_reader:
            connection.send(part_reader.answer(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the other process has closed the connection


def open_slide(request: OpenSlideFile, memory: int) -> "tuple[OpenedSlide | Refusal, PartReader | None]":
    """Open a slide and choose its reader."""
    path, threads = request.path, min(MAX_THREADS, len(os.sched_getaffinity(0)))
    cv2.setNumThreads(threads)
    try:
        if path.stat().st_size == 0:
            return Refusal(f"{path} is empty; copy it again"), None
        with open(path, "rb"):
            plain = OpenSlideReader(path, threads)
    except OSError as error:
        return Refusal(f"{path}: {error.strerror}; correct the path column of the sheet"), None
    except openslide.OpenSlideError as error:
        return Refusal(f"{path} is not a slide that can be read: {why_no_slide(path, error)}"), None
    fault = distorted_level(plain.slide.level_dimensions)
    structure, check, reason = None, None, ""
    try:
        structure = look_into_tiff(plain)
        check = TileCheck(path, structure.levels)
    except (MisorientedError, ChannelsError) as error:
        fault = fault or str(error)
    except Exception as error:  # OpenSlide has opened the slide, whatever tifffile or cuCIM find wrong
        reason = why(error)
    if fault:
        return Refusal(f"{path}: {fault}; convert it with another program or leave it out"), None
    plain.look_at_tiles(check)
    fast, of_cucim = None, CucimGpuReader if request.reader == "cucim_gpu" else CucimReader
    if request.reader == "openslide":
        reason = "asked for"
    elif check:
        fast, reason = trusted_cucim(of_cucim, plain, check)
    if request.reader in ("cucim", "cucim_gpu") and not fast:
        return Refusal(f"{of_cucim.name} is not to read {path}: {reason}; set reading.reader to auto"), None
    levels = levels_of(fast or plain, plain, structure)
    properties = plain.slide.properties
    opened = OpenedSlide(
        level_sizes=levels.sizes,
        downsamples=levels.downsamples,
        mpp=(properties.get(openslide.PROPERTY_NAME_MPP_X), properties.get(openslide.PROPERTY_NAME_MPP_Y)),
        quick_hash=properties.get(openslide.PROPERTY_NAME_QUICKHASH1),
        reader="openslide" if fast is None else "cucim_gpu" if request.reader == "cucim_gpu" else "cucim",
        reader_reason=reason + levels.note,
        n_plain=len(check.levels) if check else 0,
    )
    return opened, PartReader(levels, opened, memory, fast)


def look_into_tiff(plain: OpenSlideReader) -> TiffStructure:
    """The tiles of a slide that is a plain pyramid of TIFF images.

    Raises:
        UnsuitableError: it is none.
        MisorientedError: it lies on its side or is mirrored.
        ChannelsError: its channels are images of their own, of which OpenSlide reads one.
    """
    vendor = plain.slide.properties.get(openslide.PROPERTY_NAME_VENDOR)
    if vendor not in VENDORS:
        raise UnsuitableError(f"{vendor} files are OpenSlide's")
    structure = tiff_structure(plain.path, plain.slide.level_dimensions)
    if structure.orientation != UPRIGHT:
        raise MisorientedError(f"its TIFF tag Orientation is {structure.orientation}, expected {UPRIGHT} (upright)")
    return structure


def trusted_cucim(
    reader: type[CucimReader], plain: OpenSlideReader, check: TileCheck
) -> tuple[CucimReader | None, str]:
    """A reader of cuCIM, if it reads the slide as OpenSlide does, and why or why not."""
    try:
        fast = reader(plain.path, plain, check)
        return fast, fast.probe()
    except Exception as error:  # whatever cuCIM finds wrong, OpenSlide has opened the slide
        return None, why(error)


class PartReader:
    """Reads parts of levels into the shared memory."""

    def __init__(self, levels: Levels, slide: OpenedSlide, memory: int, fast: CucimReader | None = None) -> None:
        self._levels, self._slide, self._fast = levels, slide, fast
        self._memory_file, self._memory = memory, np.empty(0, np.uint8)
        self._n_read, self._gaps = 0, list[UnreadableTileError]()  # strips and squares of one part

    def answer(self, part: ReadPart) -> UnreadableRegion | Refusal | PartRead:
        """Read a part."""
        width, height = part.size
        n_otherwise = self._n_otherwise()
        self._n_read, self._gaps = 0, []
        try:
            result = self._shared(part).reshape(height, width, 3)
            if part.size == part.level_size:
                result[:] = self._strip(part, 0, height)
            else:
                area_resample(self._strips(part), part.level_size[::-1], result)
            if not self._n_read:
                raise self._gaps[0]
        except UnreadableTileError as error:
            return UnreadableRegion(part.x_lv0, part.y_lv0, str(error))
        except (openslide.OpenSlideError, OSError) as error:  # the slide cannot be opened again after a damaged tile
            return Refusal(f"the file is gone or damaged ({error}); copy it again")
        return PartRead(len(self._gaps), self._slide.reader if self._n_otherwise() == n_otherwise else "openslide")

    def _n_otherwise(self) -> int:
        """Strips of other pixels than the slide's reader gives, so far."""
        return self._fast.n_otherwise if self._fast else 0

    def _shared(self, part: ReadPart) -> NDArray[np.uint8]:
        """The shared memory of a part. It is mapped again if the slide has enlarged it."""
        if part.offset + part.n_bytes > len(self._memory):
            self._memory = np.frombuffer(mmap.mmap(self._memory_file, 0), np.uint8)
        return self._memory[part.offset : part.offset + part.n_bytes]

    def _strips(self, part: ReadPart) -> Iterator[NDArray[np.uint8]]:
        """The level pixels of a part, from top to bottom: all at once, or in strips that fit into memory."""
        width, height = part.level_size
        tile = self._levels.tile_heights[part.level]  # so that no tile lies in two strips of a whole level
        rows = height if width * height <= WHOLE_PX else max(1, STRIP_PX // (width * tile)) * tile
        started = time.monotonic()
        for top in range(0, height, rows):
            yield self._strip(part, top, min(rows, height - top))
            if time.monotonic() - started > PROGRESS_S:
                log.info("overview of %d x %d px: %.0f %%", width, height, 100 * min(top + rows, height) / height)
                started = time.monotonic()

    def _strip(self, part: ReadPart, first: int, rows: int) -> NDArray[np.uint8]:
        """(rows, width, 3) level pixels of a part, with gaps if it may have them."""
        try:
            pixels = self._read(part, first, rows)
            self._n_read += 1
        except UnreadableTileError:
            if not part.white_gaps:
                raise
            pixels = self._squares(part, first, rows)
        return pixels

    def _squares(self, part: ReadPart, first: int, rows: int) -> NDArray[np.uint8]:
        """(rows, width, 3) pixels of a whole level from row `first` on; squares that cannot be read are white."""
        pixels = np.full((rows, part.level_size[0], 3), 255, np.uint8)
        for y, x in product(range(0, rows, SQUARE_PX), range(0, part.level_size[0], SQUARE_PX)):
            square = pixels[y : y + SQUARE_PX, x : x + SQUARE_PX]
            try:
                square[:] = self._levels.reader.read(part.level, x, first + y, square.shape[1], square.shape[0])
                self._n_read += 1
            except UnreadableTileError as error:
                self._gaps.append(error)
        return pixels

    def _read(self, part: ReadPart, first: int, rows: int) -> NDArray[np.uint8]:
        """(rows, width, 3) level pixels of a part from its row `first` on; white outside the slide."""
        downsample = self._slide.downsamples[part.level]
        left, top = round(part.x_lv0 / downsample), round(part.y_lv0 / downsample) + first
        right, bottom = left + part.level_size[0], top + rows
        level_width, level_height = self._slide.level_sizes[part.level]
        huge = part.white_gaps and part.level_size[0] * part.level_size[1] > WHOLE_PX
        reader = self._levels.tiles if huge and self._levels.tiles else self._levels.reader
        x, y, x_end, y_end = max(0, left), max(0, top), min(right, level_width), min(bottom, level_height)
        if (x, y, x_end, y_end) == (left, top, right, bottom):
            return reader.read(part.level, left, top, right - left, rows)
        pixels = np.full((rows, right - left, 3), 255, np.uint8)
        if x < x_end and y < y_end:
            inside = reader.read(part.level, x, y, x_end - x, y_end - y)
            pixels[y - top : y_end - top, x - left : x_end - left] = inside
        return pixels

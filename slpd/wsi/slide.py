"""A slide in physical units, as the rest of the package uses it.

Any fault of a slide becomes a SlideError that names the slide, so that a stage can record the reason.
"""

import hashlib
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.slides.slide_files import files_of, hash_of_ends, whole_slide_file
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan, coarsest_level
from slpd.wsi.messages import OpenedSlide, OpenSlideFile, PartRead, Reader, ReadPart, Refusal, UnreadableRegion
from slpd.wsi.reading_process import NURSERY, ReadingProcess, ReadingProcessDiedError
from slpd.wsi.resolution import checked_mpp, refuse_oblong_pixels, required_mpp, stated_mpp

READ_AHEAD = 3  # regions in memory: one in use, one ready, one being decoded


class CrashedReaderError(SlideError):
    """The reading process of a slide crashed."""


class Slide:
    """An open slide. Use as a context manager.

    Attributes:
        name: Slide id, for messages.
        width_lv0: Level-0 pixels.
        height_lv0: Level-0 pixels.
        mpp: µm per level-0 pixel.
        mpp_source: Where `mpp` comes from.
        file_mpp: What the file states, whatever the sheet says: mean of both directions, any value; None: nothing.
        downsamples: Level-0 pixels per pixel of each level, ascending.
        reader: Library that reads the pixels.
        reader_reason: Why that one, in a few words.
        read_by: Name of what read the last pixels: `reader`, or OpenSlide where a GPU could not.
        plain_sizes: (width, height) of the levels that are tiled images of a plain TIFF pyramid, px; empty: it is none.
        n_unreadable: Squares of the last thumbnail's level that cannot be decoded and are white in it.
    """

    def __init__(self, name: str, path: Path, sheet_mpp: float | None, reader: Reader = "auto") -> None:
        self.name, self.path = name, entry_of(name, path)
        self._n_asked = 0  # requests whose answers have not been fetched
        self.n_unreadable = 0
        self._process = ReadingProcess()
        try:
            self._opened = self._open(reader)
            stated = stated_mpp(self._opened.mpp)
            refuse_oblong_pixels(name, stated)
            self.mpp = required_mpp(name, stated) if sheet_mpp is None else checked_mpp(name, sheet_mpp)
        except BaseException:
            self._process.close()
            raise
        self.mpp_source: Literal["sheet", "file"] = "file" if sheet_mpp is None else "sheet"
        self.file_mpp = sum(stated) / 2 if stated and math.isfinite(sum(stated)) else None
        self.width_lv0, self.height_lv0 = self._opened.level_sizes[0]
        self.downsamples = self._opened.downsamples
        self.reader, self.reader_reason = self._opened.reader, self._opened.reader_reason
        self.read_by: str = self.reader
        self.plain_sizes = self._opened.level_sizes[: self._opened.n_plain]

    def __enter__(self) -> Self:
        """The open slide."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and end its process."""
        self._n_asked = 0  # nothing will be answered
        self._process.close()

    def _open(self, reader: Reader) -> OpenedSlide:
        """Open the file. If the process crashes before it has chosen a reader, try again without cuCIM."""
        try:
            self._process.send(OpenSlideFile(self.path, reader))
            answer = self._process.receive()
        except ReadingProcessDiedError as death:
            if reader != "auto":
                raise self._crash(reader, death) from death
            self._process.close()
            self._process = ReadingProcess()
            return replace(self._open("openslide"), reader_reason=f"trying cuCIM ended with {death}")
        if isinstance(answer, Refusal):
            raise SlideError(f"slide {self.name}: {answer.reason}")
        assert isinstance(answer, OpenedSlide)
        if answer.reader == "cucim":
            NURSERY.import_cucim()
        return answer

    def identity(self) -> str:
        """SHA-256 that identifies this slide: of the size of its files and OpenSlide's quick hash.

        Where OpenSlide has no quick hash, whole files are hashed.
        """
        quick = self._opened.quick_hash
        try:
            files = files_of(self.path)
            if quick is not None:
                return hashlib.sha256(f"{sum(file.stat().st_size for file in files)} {quick}".encode()).hexdigest()
            return whole_hash(files)
        except OSError as error:
            raise SlideError(f"slide {self.name}: {self.path}: {error.strerror}; try again or copy it again") from error

    def content(self) -> tuple[str, int]:
        """What is equal in copies of this slide: OpenSlide's quick hash, or else a hash of its files' ends; and bytes.

        Raises:
            SlideError: its files cannot be read.
        """
        try:
            files = files_of(self.path)
            quick = self._opened.quick_hash
            return quick or hash_of_ends(files), sum(file.stat().st_size for file in files)
        except OSError as error:
            raise SlideError(f"slide {self.name}: {self.path}: {error.strerror}; try again or copy it again") from error

    def looks_like(self, other: "Slide") -> bool:
        """Whether levels and stated resolution equal those of another slide, as in a complete copy."""
        mine, theirs = self._opened, other._opened
        return (mine.level_sizes, mine.mpp, mine.quick_hash) == (theirs.level_sizes, theirs.mpp, theirs.quick_hash)

    def thumbnail(self, mpp: float) -> NDArray[np.uint8]:
        """The whole slide at `mpp` µm per pixel: (height, width, 3) RGB, area-averaged from the next finer level.

        What cannot be decoded is white and counted in `n_unreadable`.

        Raises:
            SlideError: nothing can be decoded.
        """
        width, height = (max(1, round(length * self.mpp / mpp)) for length in (self.width_lv0, self.height_lv0))
        level = coarsest_level(self.mpp, self.downsamples, mpp)
        part = ReadPart(0, 0, level, self._opened.level_sizes[level], (width, height), 0, white_gaps=True)
        return self._read_one(part)

    def read_region(self, x_lv0: int, y_lv0: int, plan: ReadPlan) -> NDArray[np.uint8]:
        """One region: (region_px, region_px, 3) RGB; white outside the slide and where the scanner left tiles out.

        Args:
            x_lv0: Left edge, level-0 pixels; the pixel of the level nearest to it begins the region.
            y_lv0: Upper edge, level-0 pixels.
            plan: Level and sizes, planned for this slide.

        Raises:
            SlideError: a tile of the region cannot be decoded.
        """
        return self._read_one(region_part(x_lv0, y_lv0, plan, 0))

    def memory_of_regions(self, plan: ReadPlan) -> NDArray[np.uint8]:
        """The memory that `read_regions` yields parts of."""
        return self._process.memory(plan.region_px**2 * 3 * READ_AHEAD)

    def read_regions(
        self, corners: Iterable[tuple[int, int]], plan: ReadPlan
    ) -> Iterator[NDArray[np.uint8] | UnreadableRegion]:
        """Regions in the order of `corners`, decoded ahead while the caller works on one.

        Args:
            corners: (x, y) of the regions, level-0 pixels.
            plan: Level and sizes, planned for this slide.

        Yields:
            (region_px, region_px, 3) RGB, valid until the next region is asked for; or why there is none.

        Raises:
            SlideError: the reading process crashed.
        """
        region_bytes = plan.region_px**2 * 3
        memory = self.memory_of_regions(plan)
        waiting: deque[ReadPart] = deque()
        try:
            for number, (x, y) in enumerate(corners):
                part = region_part(x, y, plan, number % READ_AHEAD * region_bytes)
                self._ask(part)
                waiting.append(part)
                if len(waiting) == READ_AHEAD:
                    yield self._fetch(waiting.popleft(), memory)
            while waiting:
                yield self._fetch(waiting.popleft(), memory)
        except (GeneratorExit, SlideError):  # after anything else, such as a signal, an answer may be half read
            self._drop_answers()
            raise

    def _read_one(self, part: ReadPart) -> NDArray[np.uint8]:
        memory = self._process.memory(part.n_bytes)
        self._ask(part)
        pixels = self._fetch(part, memory)
        if isinstance(pixels, UnreadableRegion):
            raise SlideError(f"slide {self.name}: {pixels.reason}; the file is damaged: copy it again or leave it out")
        return pixels.copy()

    def _ask(self, part: ReadPart) -> None:
        try:
            self._process.send(part)
        except ReadingProcessDiedError as death:
            raise self._crash(self.reader, death) from death
        self._n_asked += 1

    def _fetch(self, part: ReadPart, memory: NDArray[np.uint8]) -> NDArray[np.uint8] | UnreadableRegion:
        """The pixels of the oldest requested part."""
        answer = self._answer()
        if isinstance(answer, UnreadableRegion):
            return answer
        if isinstance(answer, Refusal):
            raise SlideError(f"slide {self.name}: {answer.reason}")
        assert isinstance(answer, PartRead)
        self.read_by = answer.reader
        if part.white_gaps:
            self.n_unreadable = answer.n_white
        width, height = part.size
        return memory[part.offset : part.offset + part.n_bytes].reshape(height, width, 3)

    def _answer(self) -> object:
        self._n_asked -= 1
        try:
            return self._process.receive()
        except ReadingProcessDiedError as death:
            self._n_asked = 0
            raise self._crash(self.reader, death) from death

    def _drop_answers(self) -> None:
        """Wait for answers that are no longer needed, so that the next request gets its own."""
        while self._n_asked:
            self._answer()

    def _crash(self, reader: str, death: ReadingProcessDiedError) -> "CrashedReaderError":
        return CrashedReaderError(
            f"slide {self.name}: {reader} ended with {death} while reading {self.path};"
            " set reading.reader to openslide, copy the file again or leave it out"
        )


def entry_of(name: str, path: Path) -> Path:
    """The file of a slide that is given to OpenSlide."""
    try:
        return whole_slide_file(path)
    except UserError as error:
        raise SlideError(f"slide {name}: {error}") from error
    except OSError as error:
        raise SlideError(f"slide {name}: {path}: {error.strerror}; mend access to it") from error


def whole_hash(files: Sequence[Path]) -> str:
    """SHA-256 of all bytes of files; of a single file it is that file's own hash."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def region_part(x_lv0: int, y_lv0: int, plan: ReadPlan, offset: int) -> ReadPart:
    """The request for a region whose pixels go to `offset` in the shared memory."""
    return ReadPart(x_lv0, y_lv0, plan.level, (plan.level_px, plan.level_px), (plan.region_px, plan.region_px), offset)

"""Regions of a slide decoded on the GPU that encodes them: compressed tiles travel, a tenth of the pixels' bytes.

This module imports torch, which the processes that read slides must not; `slpd.wsi` does not import it.

Tiles are decoded in batches of at most `BATCH_BYTES` of pixels, or one row of tiles of at most `ROW_BYTES`. At a time
the GPU holds one batch twice (as tiles, and put together), one part of a level of at most `LEVEL_BYTES`, `AHEAD`
regions, and what resampling takes: with regions of 4096 px 0.4 GB where a level has their resolution, 0.5 GB if its
tiles are as large, and 1.2 GB at most. What nvJPEG itself takes was not measured: `python -m benchmarks.gpu readers`
would say.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.errors import SlideError
from slpd.geometry.read_plan import ReadPlan
from slpd.wsi.area_means import area_means
from slpd.wsi.jpeg_decoder import decode_jpegs
from slpd.wsi.jpeg_tiles import DamagedTileError, JpegTiles
from slpd.wsi.messages import UnreadableRegion
from slpd.wsi.slide import Slide
from slpd.wsi.tiff_levels import TiledLevel, UnsuitableError, tiff_structure
from slpd.wsi.tolerance import are_near, stated

log = logging.getLogger(__name__)

BATCH_BYTES = 2**26  # of decoded tiles
ROW_BYTES = 2**28  # of the tiles side by side under a region, which are decoded together: 5 of 4096 px
LEVEL_BYTES = 2**29  # of the part of a level that becomes a region: 13,377 px across
AHEAD = 3  # regions: one in use, one ready, one being decoded

Place = tuple[int, int]
Images = dict[Place, bytes]  # (row, column) of a tile -> the JPEG image


class LevelDecoder:
    """Decodes parts of one level on a device."""

    def __init__(self, path: Path, level: TiledLevel, device: torch.device) -> None:
        self.level, self.device = level, device
        self._tiles = JpegTiles(path, level)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def load(self, left: int, top: int, width: int, height: int) -> Images:
        """The compressed tiles under a part of the level, in pixels of the level; the part may lie partly outside.

        Raises:
            DamagedTileError: a tile is missing, or does not look sound.
        """
        x, y = max(0, left), max(0, top)
        x_end, y_end = min(left + width, self.level.size[0]), min(top + height, self.level.size[1])
        places = self.level.tiles(x, y, x_end - x, y_end - y) if x < x_end and y < y_end else []
        return {place: self._tiles.image(*place) for place in places}

    def decode(self, images: Images, left: int, top: int, width: int, height: int) -> Tensor:
        """(height, width, 3) uint8 pixels of a part whose tiles are given, white outside the level."""
        pixels = torch.full((height, width, 3), 255, dtype=torch.uint8, device=self.device)
        columns = sorted({column for _, column in images})
        rows = sorted({row for row, _ in images})
        at_once = max(1, BATCH_BYTES // self.row_bytes(max(1, len(columns))))
        for first in range(0, len(rows), at_once):
            band = rows[first : first + at_once]
            tiles = [images[row, column] for row in band for column in columns]
            self._paste(self._together(tiles, len(columns)), columns[0], band[0], pixels, (left, top))
        return pixels

    def row_bytes(self, n_columns: int) -> int:
        """Bytes of tiles side by side, decoded."""
        width, height = self.level.tile_size
        return 3 * width * height * n_columns

    def _together(self, images: Sequence[bytes], n_columns: int) -> Tensor:
        """(rows * tile height, columns * tile width, 3) pixels of tiles, given row by row."""
        tiles = decode_jpegs(images, self.device)
        width, height = self.level.tile_size
        if any(tile.shape != (height, width, 3) for tile in tiles):
            raise ValueError(f"a tile was decoded to another size than {height} x {width} px")
        together = torch.stack(tiles).view(-1, n_columns, height, width, 3).transpose(1, 2)
        if self._stream:
            self._stream.synchronize()  # before the decoder has the tiles' memory back
        del tiles
        return together.reshape(-1, n_columns * width, 3)

    def _paste(self, band: Tensor, column: int, row: int, pixels: Tensor, corner: Place) -> None:
        """Copy tiles to where they belong in a part of the level with this corner (x, y), cut at its edges.

        Tiles at the level's end may have pixels beyond it.
        """
        x, y = column * self.level.tile_size[0] - corner[0], row * self.level.tile_size[1] - corner[1]
        inside = band[: self.level.size[1] - corner[1] - y, : self.level.size[0] - corner[0] - x]
        inside = inside[max(0, -y) :, max(0, -x) :]
        target = pixels[max(0, y) :, max(0, x) :][: inside.shape[0], : inside.shape[1]]
        target.copy_(inside[: target.shape[0], : target.shape[1]])

    def context(self) -> AbstractContextManager[object]:
        """Within it, what is computed runs on this decoder's stream."""
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()


class NvjpegReader:
    """Reads the regions of a slide on a device; on the CPU, for tests, by libjpeg.

    Attributes:
        reader: Its name.
        reader_reason: What a comparison with the slide's own reader found.
        read_by: Name of what read the last region: this, or the slide's own reader.
    """

    reader = "nvjpeg"

    def __init__(self, slide: Slide, plan: ReadPlan, device: torch.device) -> None:
        """Look into the slide.

        Args:
            slide: The open slide, which reads what cannot be decoded here.
            plan: Of its regions.
            device: That decodes.

        Raises:
            UnsuitableError: it is not made of JPEG tiles that can be decoded here.
        """
        self.slide, self.plan, self.read_by, self.reader_reason = slide, plan, self.reader, ""
        if plan.level >= len(slide.plain_sizes):
            raise UnsuitableError("it is no plain TIFF pyramid, or lacks the level")
        if 3 * plan.level_px**2 > LEVEL_BYTES:
            raise UnsuitableError(f"a region takes {plan.level_px} px of the level, more than the GPU is to hold")
        level = tiff_structure(slide.path, slide.plain_sizes).levels[plan.level]
        self._decoder = LevelDecoder(slide.path, level, device)
        n_columns = min(level.sizes.shape[1], 1 + -(-plan.level_px // level.tile_size[0]))
        if (row_bytes := self._decoder.row_bytes(n_columns)) > ROW_BYTES:
            raise UnsuitableError(f"one row of its tiles takes {row_bytes / 1e6:.0f} MB, more than the GPU is to hold")
        self._downsample = slide.downsamples[plan.level]

    def of_copy(self, slide: Slide) -> "NvjpegReader":
        """A reader of a copy of the slide, which need not be compared again.

        Raises:
            UnsuitableError: the copy is not made of tiles that can be decoded here.
        """
        reader = NvjpegReader(slide, self.plan, self._decoder.device)
        reader.reader_reason = self.reader_reason
        return reader

    def probe(self) -> None:
        """Compare a few tiles with the slide's own reader.

        That is mostly cuCIM, which reads whole pixels of a level, as nvJPEG does: `OpenSlideReader` says how OpenSlide
        differs where a downsample is not whole.

        Raises:
            UnsuitableError: a tile differs by more than is tolerated, or none could be compared.
        """
        n_near = sum(self._is_near(*place) for place in self._decoder.level.telling_tiles())
        if not n_near:
            raise UnsuitableError(f"no tile to compare with {self.slide.reader}")
        self.reader_reason = f"{stated(self.slide.reader)}, tiles compared: {n_near}"

    def _is_near(self, row: int, column: int) -> bool:
        """Whether a tile could be compared; it must be near if it could."""
        level, size = self._decoder.level, self._decoder.level.size
        left, top = column * level.tile_size[0], row * level.tile_size[1]
        side = min(*level.tile_size, size[0] - left, size[1] - top)
        place = (round(left * self._downsample), round(top * self._downsample))
        try:
            expected = self.slide.read_region(*place, replace(self.plan, level_px=side, region_px=side))
            with self._decoder.context():
                part = (left, top, side, side)
                pixels = self._decoder.decode(self._decoder.load(*part), *part).cpu().numpy()
        except (DamagedTileError, SlideError):
            return False
        if not are_near(pixels, expected):
            raise UnsuitableError(
                f"nvJPEG and {self.slide.reader} differ at level {self.plan.level}, x {left}, y {top}"
            )
        return True

    def read_regions(
        self, corners: Iterable[Place], plan: ReadPlan
    ) -> Iterator[Tensor | NDArray[np.uint8] | UnreadableRegion]:
        """Regions in the order of `corners`, decoded ahead while the caller works on one; see `Slide.read_regions`.

        Yields:
            (region_px, region_px, 3) RGB on the device, for the current stream; what had to be read otherwise lies in
            the host's memory; or why there is no region.
        """
        assert plan == self.plan, "a reader is made for one plan"
        loading, decoding = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
        waiting: deque[tuple[Place, Future[Tensor]]] = deque()
        try:
            for corner in corners:
                loaded = loading.submit(self._decoder.load, *self._part(corner))
                waiting.append((corner, decoding.submit(self._decoded, corner, loaded)))
                if len(waiting) == AHEAD:
                    yield self._result(*waiting.popleft())
            while waiting:
                yield self._result(*waiting.popleft())
        finally:
            decoding.shutdown(cancel_futures=True)
            loading.shutdown(cancel_futures=True)

    def _part(self, corner: Place) -> tuple[int, int, int, int]:
        """(left, top, width, height) of a region in pixels of its level."""
        left, top = (round(length / self._downsample) for length in corner)
        return left, top, self.plan.level_px, self.plan.level_px

    def _decoded(self, corner: Place, loaded: Future[Images]) -> Tensor:
        """(region_px, region_px, 3) pixels of a region; they are there once this returns."""
        with self._decoder.context():
            pixels = self._decoder.decode(loaded.result(), *self._part(corner))
            region = area_means(pixels, self.plan.region_px)
            if region.is_cuda:
                torch.cuda.current_stream().synchronize()
        return region

    def _result(self, corner: Place, decoded: Future[Tensor]) -> Tensor | NDArray[np.uint8] | UnreadableRegion:
        try:
            region = decoded.result()
        except Exception as error:  # a tile that is not sound, or whatever the GPU, its driver or a decoder raise
            log.warning(
                "%s: the region at x %d, y %d is read by %s (%s)", self.slide.name, *corner, self.slide.reader, error
            )
            pixels = next(iter(self.slide.read_regions([corner], self.plan)))
            self.read_by = self.slide.read_by
            return pixels if isinstance(pixels, UnreadableRegion) else pixels.copy()
        self.read_by = self.reader
        if region.is_cuda:
            region.record_stream(torch.cuda.current_stream())
        return region

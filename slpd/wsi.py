"""Whole-slide images: the only module that opens them.

Whatever is wrong with a slide becomes a SlideError that names it, so that a stage can record the reason.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from slpd.errors import SlideError
from slpd.geometry.read_plan import ReadPlan, coarsest_level
from slpd.geometry.resample import area_resample

LEAST_MPP, GREATEST_MPP = 0.1, 10.0  # µm/px; scanners for histology lie between 0.1 (100x) and 10 (1x)
MPP_ANISOTROPY = 0.01  # relative difference of x and y up to which pixels count as square
READ_ROWS = 256  # rows of the usual tile: reading fewer would decode every tile again for the next rows
RESAMPLE_PX = 2**22  # pixels resampled at a time: 50 MB as float32


class Slide:
    """An open slide. Use as a context manager.

    Attributes:
        name: Slide id, for messages.
        width_lv0: Level-0 pixels.
        height_lv0: Level-0 pixels.
        mpp: µm per level-0 pixel.
        mpp_source: Where `mpp` comes from.
        downsamples: Level-0 pixels per pixel of each level, ascending.
        reader: Library that reads the slide.
    """

    reader = "openslide"

    def __init__(self, name: str, path: Path, sheet_mpp: float | None) -> None:
        self.name, self.path = name, path
        self._slide = open_slide(name, path)
        self.width_lv0, self.height_lv0 = self._slide.dimensions
        self.downsamples: tuple[float, ...] = self._slide.level_downsamples
        self.mpp = checked_mpp(name, file_mpp(name, self._slide.properties) if sheet_mpp is None else sheet_mpp)
        self.mpp_source: Literal["sheet", "file"] = "file" if sheet_mpp is None else "sheet"

    def __enter__(self) -> Self:
        """The open slide."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._slide.close()

    def identity(self) -> str:
        """SHA-256 of what tells this slide from another: bytes in the file and OpenSlide's own quick hash.

        Where OpenSlide has no quick hash, the whole file is hashed.
        """
        quick = self._slide.properties.get(openslide.PROPERTY_NAME_QUICKHASH1)
        try:
            if quick is not None:
                return hashlib.sha256(f"{self.path.stat().st_size} {quick}".encode()).hexdigest()
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SlideError(f"slide {self.name}: {self.path}: {error.strerror}; try again or copy it again") from error

    def thumbnail(self, mpp: float) -> NDArray[np.uint8]:
        """The whole slide at `mpp` µm per pixel: (height, width, 3) RGB, area-averaged from the next finer level."""
        size = tuple(max(1, round(length * self.mpp / mpp)) for length in (self.height_lv0, self.width_lv0))
        level = coarsest_level(self.mpp, self.downsamples, mpp)
        width, height = self._slide.level_dimensions[level]
        return area_resample(self._strips(level, width, height), (height, width), (size[0], size[1]))

    def read_region(self, x_lv0: int, y_lv0: int, plan: ReadPlan) -> NDArray[np.uint8]:
        """One region: (region_px, region_px, 3) RGB.

        Args:
            x_lv0: Left edge, level-0 pixels.
            y_lv0: Upper edge, level-0 pixels.
            plan: Level and sizes, planned for this slide.
        """
        pixels = self._read(x_lv0, y_lv0, plan.level, plan.level_px, plan.level_px)
        if plan.level_px == plan.region_px:
            return pixels
        return area_resample(row_blocks(pixels), (plan.level_px, plan.level_px), (plan.region_px, plan.region_px))

    def read_regions(self, corners: Iterable[tuple[int, int]], plan: ReadPlan) -> Iterator[NDArray[np.uint8]]:
        """The regions at `corners` (x, y in level-0 pixels); the next one is decoded while one is in use."""
        with ThreadPoolExecutor(1) as reader:
            ahead = None
            for x_lv0, y_lv0 in corners:
                following = reader.submit(self.read_region, x_lv0, y_lv0, plan)
                if ahead:
                    yield ahead.result()
                ahead = following
            if ahead:
                yield ahead.result()

    def _strips(self, level: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
        """A whole level from top to bottom, in strips that fit in memory."""
        rows = max(READ_ROWS, RESAMPLE_PX // width // READ_ROWS * READ_ROWS)
        for top in range(0, height, rows):
            y_lv0 = round(top * self.downsamples[level])
            yield from row_blocks(self._read(0, y_lv0, level, width, min(rows, height - top)))

    def _read(self, x_lv0: int, y_lv0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB pixels of a level; what the scanner left out is white."""
        try:
            image = self._slide.read_region((x_lv0, y_lv0), level, (width, height))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"slide {self.name}: level {level} cannot be read at x {x_lv0}, y {y_lv0} ({error});"
                " the file is damaged: copy it again or leave it out"
            ) from error
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def row_blocks(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """An image in blocks of rows of at most RESAMPLE_PX pixels."""
    rows = max(1, RESAMPLE_PX // pixels.shape[1])
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))


def open_slide(name: str, path: Path) -> openslide.OpenSlide:
    """Open a slide file, or say why it cannot be."""
    try:
        if path.stat().st_size == 0:
            raise SlideError(f"slide {name}: {path} is empty; copy it again")
        with open(path, "rb"):
            return openslide.OpenSlide(path)
    except OSError as error:
        raise SlideError(f"slide {name}: {path}: {error.strerror}; correct the path column of the sheet") from error
    except openslide.OpenSlideError as error:
        raise SlideError(f"slide {name}: {path} is not a slide that can be read ({error}); copy it again") from error


def file_mpp(name: str, properties: Mapping[str, str]) -> float:
    """µm per level-0 pixel as the file states it."""
    keys = (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
    if not all(key in properties for key in keys):
        raise SlideError(f"slide {name}: no resolution in the file; fill the mpp column of the cohort sheet")
    x, y = (checked_mpp(name, parse_mpp(properties[key])) for key in keys)
    if abs(x - y) > MPP_ANISOTROPY * min(x, y):
        raise SlideError(f"slide {name}: {x} µm/px across but {y} µm/px down; pixels must be square within 1 %")
    return (x + y) / 2


def parse_mpp(text: str) -> float:
    """µm per pixel from a property of the file; NaN, which no range holds, where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def checked_mpp(name: str, mpp: float) -> float:
    """The resolution, refused where no scanner could have made it."""
    if not LEAST_MPP <= mpp <= GREATEST_MPP:
        raise SlideError(
            f"slide {name}: {mpp:g} µm/px, expected {LEAST_MPP:g} to {GREATEST_MPP:g};"
            " write the true resolution in the mpp column of the cohort sheet"
        )
    return mpp

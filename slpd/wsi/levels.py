"""The levels of a slide: those that OpenSlide finds, and those that only tifffile finds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slpd.wsi.holes import LevelReader
from slpd.wsi.openslide_reader import OpenSlideReader
from slpd.wsi.tiff_levels import TiffStructure, UnsuitableError
from slpd.wsi.tile_reader import Finest, TileReader

WHOLE_PX = 2**27  # pixels of the largest part that is decoded whole: 400 MB; a region of 40x has half as many
MAX_SIZE_ERROR_PX = 2  # of a level's shorter side: both sides are rounded, some writers round at every level


@dataclass(frozen=True)
class Levels:
    """The levels of a slide, and what reads them."""

    reader: LevelReader
    sizes: tuple[tuple[int, int], ...]  # (width, height), px
    downsamples: tuple[float, ...]  # level-0 pixels per pixel
    tile_heights: tuple[int, ...]  # px
    tiles: TileReader | None = None  # for overviews of a huge level
    note: str = ""  # why tiles are not read one by one, although that would help


def levels_of(reader: LevelReader, plain: OpenSlideReader, structure: TiffStructure | None) -> Levels:
    """The levels of an open slide.

    Args:
        reader: Of the levels that OpenSlide finds.
        plain: The slide in OpenSlide.
        structure: Of a plain TIFF.
    """
    sizes = tuple(plain.slide.level_dimensions)
    heights = tuple(plain.tile_size(level)[1] for level in range(len(sizes)))
    known = Levels(reader, sizes, tuple(plain.slide.level_downsamples), heights)
    if structure is None or not needs_tile_reader(structure):
        return known
    tiles, note = tile_reader(plain, structure)
    if tiles is None or not structure.coarser:
        return replace(known, tiles=tiles, note=note)
    sizes += tuple(level.size for level in structure.coarser)
    heights += tuple(level.tile_size[1] for level in structure.coarser)
    downsamples = tuple((sizes[0][0] / width + sizes[0][1] / height) / 2 for width, height in sizes)
    return Levels(Finest(reader, tiles), sizes, downsamples, heights, tiles)


def needs_tile_reader(structure: TiffStructure) -> bool:
    """Whether a slide has levels that OpenSlide does not see, or a single huge level."""
    width, height = structure.levels[0].size
    return bool(structure.coarser) or (len(structure.levels) == 1 and width * height > WHOLE_PX)


def tile_reader(plain: OpenSlideReader, structure: TiffStructure) -> tuple[TileReader | None, str]:
    """The reader of single tiles, if it decodes as OpenSlide does, or a note why not."""
    levels = [*structure.levels, *structure.coarser]
    try:
        if fault := distorted_level([level.size for level in levels]):
            raise UnsuitableError(fault)
        return TileReader(plain, levels), ""
    except Exception as error:  # OpenSlide has opened the slide, whatever tifffile finds wrong
        return None, f"; its tiles are not read one by one: {why(error)}"


def distorted_level(level_sizes: Sequence[tuple[int, int]]) -> str | None:
    """What is wrong with the first level that has other proportions than level 0, whose regions would be distorted.

    The longer side, known to more digits, tells the downsample and with it what the shorter one must be.
    """
    size_lv0 = level_sizes[0]
    long = int(size_lv0[1] > size_lv0[0])
    for level, size in enumerate(level_sizes):
        expected = [round(length * size[long] / size_lv0[long]) for length in size_lv0]
        if abs(size[1 - long] - expected[1 - long]) > MAX_SIZE_ERROR_PX:
            return f"level {level} has {size[0]} x {size[1]} px, expected {expected[0]} x {expected[1]} px"
    return None


def why(error: Exception) -> str:
    """The reason in an error, in a few words."""
    return str(error) if isinstance(error, UnsuitableError) else f"{type(error).__name__}: {error}"

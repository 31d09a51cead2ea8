"""A slide of any size in moments: a TIFF pyramid whose tiles share a few JPEG images.

Source of the layout: TIFF 6.0 specification, sections 2, 15 (tiles) and 22 (JPEG, as amended in technical note 2).
"""

import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

TILE_PX = 256
QUALITY = 80
GLASS = 243  # grey level
BLOB_PX = 4096  # tissue is a disc of squares of this side, level-0 pixels
SHORT, LONG, RATIONAL = 3, 4, 5  # types of TIFF fields
FORMATS = {SHORT: "H", LONG: "I", RATIONAL: "II"}

Field = tuple[int, int, list[int]]  # tag, type, values


def write_repeated_tiles(
    path: Path,
    texture: NDArray[np.uint8],
    size: tuple[int, int],
    mpp: float,
    downsamples: Sequence[int],
    tissue_radius: int,
) -> None:
    """Write a slide with a disc of tissue on glass.

    Args:
        path: The file.
        texture: (side, side, 3) tissue that repeats; the side is a power of 2.
        size: Width and height, multiples of all downsamples, px.
        mpp: µm per level-0 pixel.
        downsamples: Of the levels, powers of 2, ascending.
        tissue_radius: Of the disc, in squares of 4096 px.
    """
    with open(path, "wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        link = 4  # where the place of the next image's fields goes
        for downsample in downsamples:
            glass, *tissue = [store(file, tile) for tile in unique_tiles(texture, downsample)]
            level_size = (size[0] // downsample, size[1] // downsample)
            number = tile_numbers(level_size, downsample, tissue_radius, len(tissue))
            places = np.array([glass, *tissue])[number.ravel() + 1]
            fields = level_fields(level_size, mpp * downsample, places, reduced=downsample > 1)
            link = write_fields(file, fields, link)


def unique_tiles(texture: NDArray[np.uint8], downsample: int) -> list[bytes]:
    """JPEG images of a level: glass, then the texture's tiles row by row."""
    side = len(texture) // downsample
    small = texture.reshape(side, downsample, side, downsample, 3).mean((1, 3)).round().astype(np.uint8)
    repeats = max(1, TILE_PX // side)
    small = np.tile(small, (repeats, repeats, 1))
    tiles = [np.full((TILE_PX, TILE_PX, 3), GLASS, np.uint8)]
    for top in range(0, len(small), TILE_PX):
        tiles += [small[top : top + TILE_PX, left : left + TILE_PX] for left in range(0, len(small), TILE_PX)]
    encode = partial(
        imagecodecs.jpeg8_encode, level=QUALITY, colorspace="RGB", outcolorspace="YCbCr", subsampling="420"
    )
    return [bytes(encode(tile)) for tile in tiles]


def store(file: BinaryIO, tile: bytes) -> tuple[int, int]:
    """Write a tile; where it lies and how long it is."""
    place = file.tell()
    file.write(tile + b"\0" * (len(tile) % 2))
    return place, len(tile)


def tile_numbers(size: tuple[int, int], downsample: int, radius: int, n_tissue: int) -> NDArray[np.int64]:
    """(rows, columns) number of the tissue tile at each place of a level, -1 for glass."""
    side = round(n_tissue**0.5)
    row, column = np.ogrid[: -(-size[1] // TILE_PX), : -(-size[0] // TILE_PX)]
    y, x = ((index + 0.5) * TILE_PX * downsample // BLOB_PX for index in (row, column))
    middle = [length * downsample // BLOB_PX // 2 for length in size]
    tissue = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2
    return np.where(tissue, row % side * side + column % side, -1)


def level_fields(size: tuple[int, int], mpp: float, places: NDArray[np.int64], reduced: bool) -> list[Field]:
    """The TIFF fields of a level whose tiles lie at `places`: (tiles, 2) offsets and byte counts."""
    per_cm = Fraction(10_000 / mpp).limit_denominator(10_000)
    resolution = [per_cm.numerator, per_cm.denominator]
    return [
        (254, LONG, [int(reduced)]),  # NewSubfileType
        (256, LONG, [size[0]]),  # ImageWidth
        (257, LONG, [size[1]]),  # ImageLength
        (258, SHORT, [8, 8, 8]),  # BitsPerSample
        (259, SHORT, [7]),  # Compression: JPEG
        (262, SHORT, [6]),  # PhotometricInterpretation: YCbCr
        (277, SHORT, [3]),  # SamplesPerPixel
        (282, RATIONAL, resolution),  # XResolution
        (283, RATIONAL, resolution),  # YResolution
        (284, SHORT, [1]),  # PlanarConfiguration: interleaved
        (296, SHORT, [3]),  # ResolutionUnit: cm
        (322, LONG, [TILE_PX]),  # TileWidth
        (323, LONG, [TILE_PX]),  # TileLength
        (324, LONG, places[:, 0].tolist()),  # TileOffsets
        (325, LONG, places[:, 1].tolist()),  # TileByteCounts
        (530, SHORT, [2, 2]),  # YCbCrSubSampling
    ]


def write_fields(file: BinaryIO, fields: list[Field], link: int) -> int:
    """Write an image file directory and the place of it to `link`; the place of the next link."""
    entries = []
    for tag, kind, values in fields:
        data = struct.pack(f"<{len(values)}{FORMATS[kind][0]}", *values)
        if len(data) > 4:
            place = file.tell()
            file.write(data + b"\0" * (len(data) % 2))
            data = struct.pack("<I", place)
        count = len(values) // len(FORMATS[kind])
        entries.append(struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0"))
    directory = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries))
    next_link = file.tell()
    file.write(struct.pack("<I", 0))
    file.seek(link)
    file.write(struct.pack("<I", directory))
    file.seek(0, 2)
    return next_link

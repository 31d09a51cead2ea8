"""DICOM slides for tests: a pyramid of JPEG tiles, a file per level, as scanners export them (PS3.3, A.32.8)."""

import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
LONG = {"OB", "SQ"}  # types with 4 bytes of length
TILE_PX = 256


def element(group: int, number: int, kind: str, value: bytes) -> bytes:
    """A data element, its value padded to an even length."""
    value += b"\0" * (len(value) % 2) if kind in ("UI", "OB") else b" " * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in LONG else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + length + value


def sequence(group: int, number: int, item: bytes, undefined: bool = False) -> bytes:
    """A sequence of one item, with or without its length."""
    if not undefined:
        return element(group, number, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)
    begin = struct.pack("<HH2sHI", group, number, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return begin + item + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def short(group: int, number: int, *values: int) -> bytes:
    return element(group, number, "US", struct.pack(f"<{len(values)}H", *values))


def text(group: int, number: int, kind: str, value: str) -> bytes:
    return element(group, number, kind, value.encode())


def frames(rgb: NDArray[np.uint8]) -> list[bytes]:
    """The JPEG tiles of a level, row by row."""
    found = []
    for y in range(0, rgb.shape[0], TILE_PX):
        for x in range(0, rgb.shape[1], TILE_PX):
            Image.fromarray(rgb[y : y + TILE_PX, x : x + TILE_PX]).save(buffer := BytesIO(), "JPEG", quality=90)
            found.append(buffer.getvalue() + b"\0" * (len(buffer.getvalue()) % 2))
    return found


def write_level(path: Path, rgb: NDArray[np.uint8], mpp: float, number: int, series: str) -> None:
    """Write a level whose sides are multiples of a tile."""
    height, width = rgb.shape[:2]
    instance, spacing = f"{series}.{number}", f"{mpp / 1000:.8f}"
    meta = b"".join(
        [
            element(2, 1, "OB", b"\0\1"),
            text(2, 2, "UI", WHOLE_SLIDE),
            text(2, 3, "UI", instance),
            text(2, 0x10, "UI", JPEG),
        ]
    )
    measures = text(0x28, 0x30, "DS", rf"{spacing}\{spacing}")
    tiles = frames(rgb)
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(tile)) + tile for tile in tiles)
    kinds = r"ORIGINAL\PRIMARY\VOLUME\NONE" if number == 1 else r"DERIVED\PRIMARY\VOLUME\RESAMPLED"
    content = [
        text(8, 8, "CS", kinds),
        text(8, 0x16, "UI", WHOLE_SLIDE),
        text(8, 0x18, "UI", instance),
        text(8, 0x60, "CS", "SM"),
        sequence(8, 0x1115, text(0x20, 0xE, "UI", "9.9.9"), undefined=True),  # another series, which this one refers to
        text(0x20, 0xD, "UI", f"{series}.77"),
        text(0x20, 0xE, "UI", series),
        text(0x20, 0x13, "IS", str(number)),
        text(0x20, 0x52, "UI", f"{series}.88"),
        sequence(0x20, 0x9221, b""),
        text(0x20, 0x9311, "CS", "TILED_FULL"),
        short(0x28, 2, 3),
        text(0x28, 4, "CS", "YBR_FULL_422"),
        short(0x28, 6, 0),
        text(0x28, 8, "IS", str(len(tiles))),
        short(0x28, 0x10, TILE_PX),
        short(0x28, 0x11, TILE_PX),
        short(0x28, 0x100, 8),
        short(0x28, 0x101, 8),
        short(0x28, 0x102, 7),
        short(0x28, 0x103, 0),
        element(0x48, 6, "UL", struct.pack("<I", width)),
        element(0x48, 7, "UL", struct.pack("<I", height)),
        sequence(0x48, 0x105, text(0x48, 0x106, "SH", "1")),
        element(0x48, 0x303, "UL", struct.pack("<I", 1)),
        sequence(0x5200, 0x9229, sequence(0x28, 0x9110, measures)),
        struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0),
        items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
    ]
    head = element(2, 0, "UL", struct.pack("<I", len(meta)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + head + meta + b"".join(content))


def write_dicom(
    folder: Path, rgb: NDArray[np.uint8], names: Sequence[str], series: str = "1.2.3", mpp: float = 0.5
) -> None:
    """Write a slide as a file per level, each half as wide as the one before."""
    for number, name in enumerate(names, start=1):
        write_level(folder / name, rgb, mpp * 2 ** (number - 1), number, series)
        rgb = np.asarray(Image.fromarray(rgb).reduce(2))

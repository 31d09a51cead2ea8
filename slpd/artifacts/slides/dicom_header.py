"""The series that a DICOM file belongs to, which the files of one slide share, and whether it is a resampled level.

Source: DICOM PS3.5 (2024), sections 7.1 (data elements) and 7.5 (sequences), and PS3.10, section 7.1 (file header).
"""

import struct
from pathlib import Path

HEADER_BYTES = 2**16  # of a file; the series comes long before the pixels
PREAMBLE = 128  # bytes before the magic word
MAGIC = b"DICM"
IMAGE_TYPE, SERIES = (0x0008, 0x0008), (0x0020, 0x000E)
TRANSFER_SYNTAX = (0x0002, 0x0010)
IMPLICIT = b"1.2.840.10008.1.2"  # the transfer syntax whose elements do not say their type
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # 4 bytes of length
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)


def series_of(path: Path) -> str | None:
    """Series Instance UID of a DICOM file; None: it is none, or does not say.

    Raises:
        OSError: it cannot be read.
    """
    return value_of(path, SERIES)


def is_level(path: Path) -> bool:
    """Whether a DICOM file is a level of a slide, not its label, overview or thumbnail (PS3.3, C.8.12.4.1.1)."""
    return (value_of(path, IMAGE_TYPE) or "").split("\\")[2:3] == ["VOLUME"]


def is_resampled(path: Path) -> bool:
    """Whether a DICOM file is made of a finer one. `DERIVED` does not tell: a converted base level is derived, too."""
    return (value_of(path, IMAGE_TYPE) or "").split("\\")[3:4] == ["RESAMPLED"]


def value_of(path: Path, wanted: tuple[int, int]) -> str | None:
    """The text of an element in the first 64 KB of a DICOM file; None: it is none, or has no such element there.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] != MAGIC:
            return None
        file.seek(0)
        header = file.read(HEADER_BYTES)
    try:
        return find_element(header, wanted)
    except struct.error:  # the header breaks off
        return None


def find_element(header: bytes, wanted: tuple[int, int]) -> str | None:
    """The text of an element of a file that begins so; elements are in order of their tags."""
    position, implicit = PREAMBLE + len(MAGIC), False
    while True:
        tag, begin, length = element(header, position, implicit and struct.unpack_from("<H", header, position)[0] > 2)
        if tag > wanted:
            return None
        value = header[begin : begin + length].rstrip(b"\0 ")
        if tag == wanted:
            return value.decode("ascii", "replace")
        implicit = value == IMPLICIT if tag == TRANSFER_SYNTAX else implicit
        position = after_sequence(header, begin, implicit) if length == UNDEFINED else begin + length


def element(header: bytes, position: int, implicit: bool) -> tuple[tuple[int, int], int, int]:
    """Tag of the element at a place, where its value begins, and the value's length in bytes."""
    tag = struct.unpack_from("<HH", header, position)
    if implicit or tag[0] == ITEM[0]:
        return tag, position + 8, struct.unpack_from("<I", header, position + 4)[0]
    if header[position + 4 : position + 6] in LONG:
        return tag, position + 12, struct.unpack_from("<I", header, position + 8)[0]
    return tag, position + 8, struct.unpack_from("<H", header, position + 6)[0]


def after_sequence(header: bytes, position: int, implicit: bool) -> int:
    """Where a sequence, or an item of one, of undefined length is over."""
    while True:
        tag, begin, length = element(header, position, implicit)
        if tag in (ITEM_END, SEQUENCE_END):
            return begin
        position = after_sequence(header, begin, implicit) if length == UNDEFINED else begin + length

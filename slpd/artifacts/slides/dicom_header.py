"""The series that a DICOM file belongs to: the files of one slide share it. Nothing else of DICOM is read here.

Source: DICOM PS3.5 (2024), sections 7.1 (data elements) and 7.5 (sequences), and PS3.10, section 7.1 (file header).
"""

import struct
from pathlib import Path

HEADER_BYTES = 2**16  # of a file; the series comes long before the pixels
PREAMBLE = 128  # bytes before the magic word
MAGIC = b"DICM"
SERIES = (0x0020, 0x000E)
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
    with open(path, "rb") as file:
        if file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] != MAGIC:
            return None
        file.seek(0)
        header = file.read(HEADER_BYTES)
    try:
        return find_series(header)
    except struct.error:  # the header breaks off
        return None


def find_series(header: bytes) -> str | None:
    """The series of a file that begins so."""
    position, implicit = PREAMBLE + len(MAGIC), False
    while True:
        tag, begin, length = element(header, position, implicit and struct.unpack_from("<H", header, position)[0] > 2)
        if tag > SERIES:
            return None
        value = header[begin : begin + length].rstrip(b"\0 ")
        if tag == SERIES:
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

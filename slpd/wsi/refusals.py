"""Why OpenSlide does not open a file: what the file is, and what to do about it."""

from pathlib import Path

import openslide
import tifffile

from slpd.artifacts.slides.slide_files import MIRAX

HEAD_BYTES = 2**12
CONVERT = "convert it to a tiled, pyramidal TIFF (vips tiffsave --tile --pyramid) and write its resolution in the sheet"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# How a file begins -> what it is, and what to do.
OTHERS = {
    b"\xff\xd8\xff": ("a JPEG picture", CONVERT),
    b"\x89PNG": ("a PNG picture", CONVERT),
    b"BM": ("a BMP picture", CONVERT),
    b"\0\0\0\x0cjP": ("a JPEG 2000 picture", CONVERT),
    b"\xff\x4f\xff\x51": ("a JPEG 2000 picture", CONVERT),
    b"\x89HDF": ("an HDF5 file", "give the slide, or name a file of tokens .h5"),
    b"PK\3\4": ("a ZIP archive", "unpack it and give the slide in it"),
    b"\x1f\x8b": ("a gzip archive", "unpack it and give the slide in it"),
    b"%PDF": ("a PDF", "give the slide"),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file that it stands for: git lfs pull"),
    b"<": ("a web page or XML", "download the slide again and look at what came"),
}


def why_no_slide(path: Path, error: openslide.OpenSlideError) -> str:
    """What is wrong with a file that OpenSlide refuses, and the remedy.

    Raises:
        OSError: the file cannot be read.
    """
    if path.suffix.lower() == MIRAX:
        return why_no_mirax(path, error)
    if not isinstance(error, openslide.OpenSlideUnsupportedFormatError):
        return f"it is damaged ({error}); copy it again"
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(TIFF):
        return why_no_tiff(path)
    if not any(head):
        return "it begins with zeros, as what an interrupted copy leaves; copy it again"
    for begin, (what, remedy) in OTHERS.items():
        if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(begin):
            return f"it is {what}; {remedy}"
    return f"it is of no format that OpenSlide knows ({error}); convert it, or copy it again if it is damaged"


def why_no_mirax(path: Path, error: openslide.OpenSlideError) -> str:
    """The same for a MIRAX slide, whose pixels lie in a folder of the same name."""
    folder = path.with_suffix("")
    if not folder.is_dir():
        return f"it has no folder {folder} with its pixels beside it; copy the folder, too, by the same name"
    if not (folder / "Slidedat.ini").is_file():
        return f"it has no Slidedat.ini in its folder {folder}; copy the folder again"
    return f"it is damaged ({error}); copy it again with its folder"


def why_no_tiff(path: Path) -> str:
    """The same for a TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            kind = f"{tifffile.COMPRESSION(page.compression).name}, {page.bitspersample} bits"
            if not page.is_tiled:
                return f"it is a TIFF in strips, not in tiles; {CONVERT}"
            end = max(offset + size for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True))
    except Exception as error:  # tifffile may raise anything
        return f"it is a TIFF that cannot be read ({error}); copy it again"
    if end > path.stat().st_size:
        return f"it is a TIFF that is cut short, {path.stat().st_size} of {end} bytes or more; copy it again"
    return f"it is a tiled TIFF of a kind that OpenSlide does not know ({kind}); {CONVERT}"

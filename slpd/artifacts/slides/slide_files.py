"""The files that make up a slide: one, or several that lie together (DICOM, MIRAX, Hamamatsu VMS and VMU).

What a file is, its content says and not its name; MIRAX alone is known by its suffix, as OpenSlide knows it.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from slpd.artifacts.disk import AWAY
from slpd.artifacts.slides.dicom_header import is_level, is_resampled, series_of
from slpd.errors import UserError

log = logging.getLogger(__name__)

MIRAX = ".mrxs"  # its pixels lie in a folder of the slide's name
HAMAMATSU = (b"[Virtual Microscope Specimen]", b"[Uncompressed Virtual Microscope Specimen]")  # a text that names files
EDGE_BYTES = 2**16  # of a file, at its beginning and its end, that tell it from others
SLIDES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".czi")  # formats of one file
SINGLE = (*SLIDES, ".h5", ".hdf5", ".pt")  # the same, and token files


def files_of(path: Path) -> list[Path]:
    """The files of a slide, that which OpenSlide is given first.

    Args:
        path: The slide's file, or a folder with one DICOM series in it.

    Raises:
        UserError: the folder holds no slide, or several.
        OSError: something cannot be read.
    """
    entry = slide_file(path)
    if entry.suffix.lower() == MIRAX:
        return [entry, *sorted(file for file in entry.with_suffix("").rglob("*") if file.is_file())]
    with open(entry, "rb") as file:
        begin = file.read(len(max(HAMAMATSU, key=len)))
    if begin.startswith(HAMAMATSU):
        return [entry, *named_files(entry)]
    series = series_of(entry)
    members = series_in(entry.parent).get(series, []) if series else []
    return [entry, *(file for file in members if file != entry)]


def slide_file(path: Path) -> Path:
    """The file that OpenSlide is given: of a folder the first one of its DICOM series.

    Raises:
        UserError: the folder holds no slide, or several.
        OSError: the folder cannot be read.
    """
    if not path.is_dir():
        return path
    series = series_in(path)
    if len(series) == 1:
        return next(iter(series.values()))[0]
    if not series:
        likely = [file for file in (path.parent / f"{path.name}{MIRAX}", *sorted(path.iterdir())) if is_likely(file)]
        remedy = f"give the file, as {likely[0]}" if likely else "and holds no slide; give the slide's file"
        raise UserError(f"{path} is a folder, {remedy}")
    examples = " or ".join(str(files[0]) for files in list(series.values())[:2])
    raise UserError(f"{path} is a folder of {len(series)} DICOM series; give a file of the one meant, as {examples}")


def whole_slide_file(path: Path) -> Path:
    """As `slide_file`, of a slide whose finest level is there.

    Raises:
        UserError: of its DICOM series only resampled levels are there, so that it would pass for a coarser slide.
    """
    entry = slide_file(path)
    if entry.suffix.lower() in (MIRAX, *SINGLE) or not os.access(entry, os.R_OK) or not entry.is_file():
        return entry
    series = series_of(entry)
    levels = [file for file in series_in(entry.parent).get(series, []) if is_level(file)] if series else []
    if levels and all(map(is_resampled, levels)):
        raise UserError(
            f"{path}: the base level is missing: all {len(levels)} levels of its DICOM series are resampled; export or"
            " copy the series again"
        )
    return entry


def is_likely(file: Path) -> bool:
    """Whether a file looks like the one that was meant where a folder is named."""
    return file.is_file() and file.suffix.lower() in (MIRAX, *SINGLE)


def series_in(folder: Path) -> dict[str, list[Path]]:
    """DICOM series -> its files in a folder, in order of name."""
    return scan(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=64)  # many slides may lie in one folder
def scan(folder: Path, changed: int) -> dict[str, list[Path]]:
    """`series_in` a folder that was changed last at this time."""
    files_of_series: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with suppress(OSError):  # what cannot be read is no part of a slide that can
            if series := series_of(path):
                files_of_series.setdefault(series, []).append(path)
    return files_of_series


def slides_below(folder: Path) -> list[Path]:
    """The slides in a folder and below, in order of path: of each its file, or the folder of one DICOM series.

    Files are known by their suffix, DICOM by its content. Hidden files, as a Macintosh leaves them, are none. What
    cannot be looked at is logged.
    """
    found = []
    for inner in sorted(path for path in (folder, *folder.rglob("*/")) if path.is_dir()):
        files = visible_files(inner)
        found += [file for file in files if file.suffix.lower() in (*SLIDES, MIRAX, ".vms", ".vmu")]
        series = series_in(inner) if files else {}
        found += [inner] if len(series) == 1 and inner != folder else [members[0] for members in series.values()]
    return found


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder that are not hidden, in order of name."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        log.warning("left out: %s: %s", folder, error.strerror)
        return []
    for link in (path for path in entries if path.is_symlink() and not path.exists()):
        log.warning("left out: %s: a link to %s, which is not there", link, link.readlink())
    return [path for path in entries if path.is_file()]


def named_files(entry: Path) -> list[Path]:
    """The files beside a VMS or VMU slide that its text names."""
    names = [line.partition("=")[2].strip() for line in entry.read_text(errors="replace").splitlines()]
    return [entry.parent / name for name in dict.fromkeys(names) if name and (entry.parent / name).is_file()]


def n_bytes_of(path: Path) -> int:
    """Bytes of all files of a slide; files named as formats of one file are not looked into, for it is asked often.

    Raises:
        UserError: it is a folder that holds no slide, or several.
        OSError: something cannot be read.
    """
    files = [path] if path.suffix.lower() in SINGLE and not path.is_dir() else files_of(path)
    return sum(file.stat().st_size for file in files)


def quick_sha256(path: Path) -> str:
    """SHA-256 of a file's size, first and last 64 KiB: slides are gigabytes."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        first = file.read(EDGE_BYTES)
        file.seek(max(0, size - EDGE_BYTES))
        return hashlib.sha256(f"{size} ".encode() + first + file.read()).hexdigest()


def hash_of_ends(files: Sequence[Path]) -> str:
    """SHA-256 of the first and last bytes of files, whatever their names."""
    return hashlib.sha256("".join(sorted(map(quick_sha256, files))).encode()).hexdigest()


def readable_files(path: Path) -> list[Path]:
    """The files of a slide; none where they are at fault.

    Raises:
        OSError: the disk that they are on is away or faulty.
    """
    try:
        files = files_of(path)
        for file in files:
            with open(file, "rb"):
                pass
        return files
    except UserError:
        return []
    except OSError as error:
        if error.errno in AWAY or not path.parent.is_dir():
            raise
        return []

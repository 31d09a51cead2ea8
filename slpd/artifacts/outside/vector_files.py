"""Where a slide's vectors lie that another program made: `<folder>/<slide>.h5` or `.pt`, as by TRIDENT and STAMP.

The workflow asks at its start, so nothing here opens a file.
"""

from collections.abc import Sequence
from pathlib import Path

from slpd.artifacts.slides.sheet import SheetRow

SUFFIXES = (".h5", ".hdf5", ".pt")


def names_of(slide: str, path: str) -> list[str]:
    """Names that another program may have given a slide: the id in the sheet, or the name of the slide's file."""
    file = Path(path)
    return list(dict.fromkeys([slide, file.stem, file.name]))


def vector_file(folder: Path, slide: str, path: str) -> Path | None:
    """The file of a slide's vectors; None: there is none."""
    candidates = (folder / f"{name}{suffix}" for name in names_of(slide, path) for suffix in SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def vector_files(folder: Path, rows: Sequence[SheetRow]) -> list[Path]:
    """The files of all slides of a sheet that have one, in its order."""
    given = (vector_file(folder, row.slide, row.path) for row in rows)
    return [path for path in given if path is not None]

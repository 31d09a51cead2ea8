"""A slide of a cohort before it is drawn, and the cohort sheet of many."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.slides.sheet import COLUMNS
from slpd.settings.synthetic import Flaw, Kind


@dataclass(frozen=True)
class PlannedSlide:
    """A slide's line in the sheet, and the content of its file."""

    slide: str
    patient: str
    label: str  # class
    mpp: float  # µm per level-0 pixel
    mpp_in_file: bool = True  # otherwise the sheet supplies it
    is_slide: bool = True  # otherwise the file holds other bytes
    groups: tuple[str, ...] = ()  # of tiles; none in procedural slides
    kinds: tuple[Kind, ...] = ()  # of tissue in a procedural slide: the pair, the more frequent first, the common one
    scanner: str = ""  # of a procedural slide
    flaw: Flaw | None = None

    def path(self, folder: Path) -> Path:
        """Where the slide lies in a cohort's folder."""
        return folder / "slides" / f"{self.slide}.tiff"

    def kinds_path(self, folder: Path) -> Path:
        """Where the kinds of tissue laid into it are told."""
        return folder / "kinds" / f"{self.slide}.csv"

    def is_drawn(self, folder: Path) -> bool:
        """Whether its files are there."""
        return self.path(folder).is_file() and (not self.is_slide or self.kinds_path(folder).is_file())


def sheet_text(planned: list[PlannedSlide], folder: Path, label: str) -> str:
    """The cohort sheet (CSV) of a cohort in `folder`, with its label column; see `artifacts.slides.sheet`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scanners = any(slide.scanner for slide in planned)
    writer.writerow([*COLUMNS, label, *(["scanner"] if scanners else [])])
    for slide in planned:
        mpp = "" if slide.mpp_in_file else slide.mpp
        scanner = [slide.scanner] if scanners else []
        writer.writerow([slide.slide, slide.path(folder).as_posix(), slide.patient, mpp, slide.label, *scanner])
    return text.getvalue()

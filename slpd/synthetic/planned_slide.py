"""A slide of a cohort before it is drawn, and the cohort sheet of many."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.slides.sheet import COLUMNS


@dataclass(frozen=True)
class PlannedSlide:
    """A slide's line in the sheet, and the content of its file."""

    slide: str
    patient: str
    label: str  # class
    mpp: float  # µm per level-0 pixel
    mpp_in_file: bool = True  # otherwise the sheet supplies it
    is_slide: bool = True  # otherwise the file holds other bytes
    groups: tuple[str, ...] = ()  # tile groups of the class; none in procedural slides
    benign_groups: tuple[str, ...] = ()

    def path(self, folder: Path) -> Path:
        """Where the slide lies in a cohort's folder."""
        return folder / "slides" / f"{self.slide}.tiff"


def sheet_text(planned: list[PlannedSlide], folder: Path, label: str) -> str:
    """The cohort sheet (CSV) of a cohort in `folder`, with its label column; see `artifacts.slides.sheet`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, label])
    for one in planned:
        mpp = "" if one.mpp_in_file else one.mpp
        writer.writerow([one.slide, one.path(folder).as_posix(), one.patient, mpp, one.label])
    return text.getvalue()

"""Status record of a slide: what is known of it, and why it was left out if it was.

Every stage on slides reads the records of the stage before, adds to them and writes its own. A slide that
fails keeps its record: status `failed`, the stage and the reason. Later stages pass it on untouched.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter

from slpd.artifacts.atomic import write_text


class SlideRecord(BaseModel):
    """All that later stages and people need to know of a slide. Unknown until a stage fills it: None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: str
    path: str
    status: Literal["ok", "failed"] = "ok"
    stage: str = ""  # the stage that failed
    reason: str = ""  # the message of the failure
    content: str | None = None  # what copies of the slide share: OpenSlide's quick hash, or a hash of its files' ends
    n_bytes: int | None = None  # of all its files
    reader: str | None = None  # what reads regions: nvjpeg, cucim_gpu, cucim or openslide
    reader_reason: str = ""  # why that one, in a few words
    width_lv0: int | None = None  # level-0 pixels
    height_lv0: int | None = None
    slide_mpp: float | None = None  # µm per level-0 pixel
    mpp_source: Literal["sheet", "file"] | None = None
    file_mpp: float | None = None  # what the file states, also where the sheet has the say
    mpp_conflict: bool | None = None  # sheet and file differ by more than 5 %
    n_unreadable: int | None = None  # squares of the overview that cannot be decoded, shown white
    tissue_mpp: float | None = None  # µm per mask pixel
    mask_source: Literal["segmenter", "sheet"] | None = None
    tissue_mm2: float | None = None
    pen_share: float | None = None  # of the slide's area, 0-1
    padding_share: float | None = None
    region_px: int | None = None  # side of a region at requested_mpp
    region_lv0: int | None = None  # side of a region in level-0 pixels
    requested_mpp: float | None = None  # µm per pixel that regions are asked at
    read_mpp: float | None = None  # µm per pixel of the level they are read from
    effective_mpp: float | None = None  # µm per pixel after resampling
    outside_mm2: float | None = None  # tissue right of and below the last whole region
    n_regions: int | None = None  # regions used: those kept by tile_regions, less the invalid, later less the blurred
    n_little_tissue: int | None = None  # grid places with some tissue, excluded for the reason in the name
    n_pen: int | None = None
    n_padding: int | None = None
    n_invalid: int | None = None  # regions with a tile that cannot be decoded
    n_blurred: int | None = None  # regions in the token file that are not used
    min_sharpness: float | None = None  # because they are less sharp than this

    def failed(self, stage: str, reason: str) -> Self:
        """The record of a slide that `stage` cannot use."""
        return self.model_copy(update={"status": "failed", "stage": stage, "reason": reason})


def write_records(path: Path, records: list[SlideRecord]) -> None:
    """Write the records of a batch of slides as a JSON list."""
    write_text(path, "[" + ",\n".join(record.model_dump_json() for record in records) + "]\n")


def read_records(path: Path) -> list[SlideRecord]:
    """Read the records of a batch of slides."""
    return TypeAdapter(list[SlideRecord]).validate_json(path.read_text(encoding="utf-8"))

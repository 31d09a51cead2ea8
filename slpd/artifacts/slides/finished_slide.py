"""What a stage knows of a slide that it is done with (`<slide>.json`), and of a batch of slides (`batches/<n>.json`).

The file of a slide is written last, so where it is there, the slide's other files are too. The file of a batch lists
the same of all its slides.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from slpd.artifacts.atomic import write_text
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError


class FinishedSlide(BaseModel):
    """A slide that a stage is done with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str  # of everything that shapes the slide's files
    record: SlideRecord


def write_finished(path: Path, finished: FinishedSlide) -> None:
    """Write the file of a slide."""
    write_text(path, finished.model_dump_json(indent=1) + "\n")


def read_finished(path: Path) -> FinishedSlide | None:
    """Read the file of a slide; None: the slide is not finished, or by another version of the package."""
    try:
        return FinishedSlide.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def write_batch(path: Path, slides: Sequence[FinishedSlide]) -> None:
    """Write the file of a batch, a slide to a line."""
    write_text(path, "[" + ",\n".join(slide.model_dump_json() for slide in slides) + "]\n")


def read_batch(path: Path) -> list[FinishedSlide]:
    """Read the file of a batch.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return TypeAdapter(list[FinishedSlide]).validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(f"{path}: damaged; delete it and run again") from error


def slides_in(path: Path) -> set[str]:
    """Ids of the slides that have files by the file of a batch; none where it is not there or damaged.

    Slides that failed have files too, which show the reason; but no tokens, of which plain records are kept.
    """
    try:
        slides = json.loads(path.read_text(encoding="utf-8"))
        records = [slide.get("record", slide) for slide in slides if is_made(slide)]
        return {record["slide"] for record in records}
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return set()


def is_made(slide: Mapping[str, object]) -> bool:
    """Whether an entry of a batch's file is of a slide that has files."""
    return "record" in slide or slide["status"] == "ok"

"""How a stage gets through a batch of slides: some at a time, each kept as soon as it is done, and none done twice."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from slpd.artifacts.slides.finished_slide import FinishedSlide, read_finished, write_finished
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.layout import FINISHED, files_of_slide

log = logging.getLogger(__name__)

PROGRESS_S = 5.0  # between lines of the log
Slide = TypeVar("Slide")


@dataclass(frozen=True)
class SlideWork:
    """What a stage has to do for a slide."""

    slide: str
    fingerprint: str  # of everything that shapes the slide's files
    do: Callable[[], SlideRecord]  # write them; what becomes known of the slide, also where it cannot be used


def fingerprint_of(*shaping: object) -> str:
    """Digest of all that shapes the files of a slide, as far as JSON writes it."""
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:32]


def finish_slides(slides: Sequence[SlideWork], folder: Path, threads: int) -> list[FinishedSlide]:
    """Get through a batch; a slide that is finished is left as it is.

    A slide that failed is tried again: its file may have been copied anew. Whatever ends the job, finished slides stay.

    Args:
        slides: The work.
        folder: Where the slides' files are (`SLIDE_FILES`).
        threads: Slides at a time.

    Raises:
        OSError: a file cannot be written, or the disk with the slides is away: no fault of a slide.
    """
    with ThreadPoolExecutor(threads) as pool:
        return list(with_progress(pool.map(lambda work: finish(work, folder), slides), len(slides)))


def finish(work: SlideWork, folder: Path) -> FinishedSlide:
    """Do what there is to do for a slide."""
    path = folder / FINISHED.format(slide=work.slide)
    known, whole = read_finished(path), all(file.exists() for file in files_of_slide(folder, work.slide))
    if known and whole and known.fingerprint == work.fingerprint and known.record.status == "ok":
        return known
    path.unlink(missing_ok=True)  # what comes now belongs to another fingerprint
    finished = FinishedSlide(fingerprint=work.fingerprint, record=work.do())
    write_finished(path, finished)
    return finished


def with_progress(slides: Iterator[Slide], n_slides: int) -> Iterator[Slide]:
    """The slides as they come, with a line in the log every few seconds."""
    told = time.monotonic()
    for number, slide in enumerate(slides, 1):
        if time.monotonic() - told > PROGRESS_S or number == n_slides:
            log.info("slides: %s of %s", f"{number:,}", f"{n_slides:,}")
            told = time.monotonic()
        yield slide

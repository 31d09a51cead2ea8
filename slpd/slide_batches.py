"""Which slides of a cohort are worked on by one job, and which files of theirs are gone."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slpd.artifacts.slides.finished_slide import slides_in
from slpd.layout import SLIDE_FILES, files_of_slide

SLIDES_PER_BATCH = 24  # on average at most: enough to be worth loading the model, few enough to occupy many jobs


def batches_of(slides: Iterable[str]) -> dict[int, list[str]]:
    """Batch number -> its slides in order of id.

    A slide's id decides its batch, so one slide more or less changes only one batch. The number of batches is a
    power of 2; when a cohort outgrows it, every batch is split in two.
    """
    ordered = sorted(slides)
    n_batches = 1 << (max(0, len(ordered) - 1) // SLIDES_PER_BATCH).bit_length()
    batches: dict[int, list[str]] = {}
    for slide in ordered:
        number = int.from_bytes(hashlib.sha256(slide.encode()).digest()[:8], "big") % n_batches
        batches.setdefault(number, []).append(slide)
    return dict(sorted(batches.items()))


def files_gone(folder: Path, batches: Mapping[Path, Sequence[str]]) -> dict[Path, list[Path]]:
    """File of a batch -> files of its slides that were there when it was written.

    Args:
        folder: Where a stage leaves the files of slides (`SLIDE_FILES`); it is listed once.
        batches: File of a batch -> its slides as the sheet has them.
    """
    places = {folder / Path(name).parent for name in SLIDE_FILES[folder.name]}
    there = {file for place in places if place.is_dir() for file in place.iterdir()}
    gone = {}
    for batch, slides in batches.items():
        missing = {slide: [file for file in files_of_slide(folder, slide) if file not in there] for slide in slides}
        if any(missing.values()):
            made = slides_in(batch)
            gone[batch] = [file for slide, files in missing.items() if slide in made for file in files]
    return {batch: files for batch, files in gone.items() if files}

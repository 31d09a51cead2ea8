"""Which slides of a cohort are encoded by one job."""

import hashlib
from collections.abc import Iterable

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

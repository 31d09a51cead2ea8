"""Encode the regions of a batch of slides into patch tokens.

A slide's regions are decoded ahead in a process of their own, encoded, and written one by one: memory does not grow
with the slide. Whatever kills the job, the next start resumes at the first region that is not written.
"""

import argparse
import hashlib
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import starmap
from operator import gt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.checksums import is_damaged
from slpd.artifacts.disk import raise_if_slide_away
from slpd.artifacts.outside.encoder_weights import read_encoder_weights
from slpd.artifacts.patch_tokens.cohort_tokens import Stamp, file_stamp
from slpd.artifacts.patch_tokens.shared_tokens import share, take_shared
from slpd.artifacts.patch_tokens.token_file import Quality, TokenSource, has_tokens, read_quality, write_tokens
from slpd.artifacts.patch_tokens.token_journal import EncodedRegion, TokenJournal, journal_path, n_done
from slpd.artifacts.slides.finished_slide import read_batch
from slpd.artifacts.slides.node_copy import node_copy
from slpd.artifacts.slides.region_table import Region, read_regions
from slpd.artifacts.slides.slide_files import files_of
from slpd.artifacts.slides.slide_record import SlideRecord, write_records
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan
from slpd.layout import REGIONS
from slpd.models.page_locked import page_locked
from slpd.models.patch_encoder import Encoding, PatchEncoder
from slpd.settings.jobs import Jobs
from slpd.settings.slides import ON_GPU, Reading
from slpd.settings.slides import PatchEncoderSettings as Settings
from slpd.slide_work import with_progress
from slpd.slurm.limit import WARNING, start_again, warn_before_limit
from slpd.wsi import CrashedReaderError, Slide, UnreadableRegion
from slpd.wsi.nvjpeg_reader import NvjpegReader
from slpd.wsi.region_readers import Opened, Request, decoding_device, open_for_regions
from slpd.wsi.tiff_levels import UnsuitableError
from slpd.wsi.tolerance import MEAN_LEVELS, MOST_LEVELS

log = logging.getLogger(__name__)

# Settings that tokens depend on, besides the weights; the others only decide where and how fast.
SHAPING = {"model", "arguments", "pooling", "patch_px", "mean", "std"}


@dataclass(frozen=True)
class Batch:
    """What the slides of a batch share."""

    settings: Settings
    reading: Reading
    jobs: Jobs
    version: int  # result version of the stage

    @property
    def shared(self) -> Path | None:
        """Where experiments share tokens."""
        return Path(self.jobs.shared_tokens) if self.jobs.shared_tokens else None

    @cached_property
    def encoder(self) -> PatchEncoder:
        """The encoder, built for the first slide that needs it: a batch of finished slides needs none."""
        return PatchEncoder(self.settings, read_weights(self.settings), self.jobs.batch_patches)


@dataclass(frozen=True)
class TiledSlide:
    """A slide of the batch."""

    record: SlideRecord  # of tile_regions
    table: Path  # of its regions
    tokens: Path  # file to write


@dataclass(frozen=True)
class Task:
    """The regions of an open slide, to be encoded."""

    slide: Slide
    reader: Slide | NvjpegReader  # of its regions
    corners: NDArray[np.int64]  # (R, 2) level-0 pixels
    plan: ReadPlan
    source: TokenSource
    stamps: list[Stamp]  # of its files when it was opened


@dataclass(frozen=True)
class Prepared:
    """A slide ready to be encoded, or one that need not or cannot be."""

    record: SlideRecord
    task: Task | None  # None: it failed, or has its tokens
    out: Path  # token file
    held: ExitStack = field(default_factory=ExitStack)  # closes the slide and removes its copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--records", type=Path, required=True, help="the batch's records of tile_regions (JSON)")
    parser.add_argument("--regions", type=Path, required=True, help="folder of the slides' region tables")
    parser.add_argument("--settings", required=True, help="config section `patch_encoder` as JSON")
    parser.add_argument("--reading", required=True, help="config section `reading` as JSON")
    parser.add_argument("--jobs", required=True, help="config section `jobs` as JSON")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files <slide>.h5")
    parser.add_argument("--out", type=Path, required=True, help="final records of the batch to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Encode the slides that are not encoded yet; a slide that cannot be read gets a record that says why."""
    settings, jobs = Settings.from_json(args.settings), Jobs.from_json(args.jobs)
    batch = Batch(settings, Reading.from_json(args.reading), jobs, args.version)
    slides = [
        TiledSlide(finished.record, args.regions / REGIONS.format(slide=name), args.tokens_dir / f"{name}.h5")
        for finished in read_batch(args.records)
        for name in [finished.record.slide]
    ]
    with ended_by_the_queue([slide.tokens for slide in slides]):
        records = list(with_progress(encode_slides(slides, batch), len(slides)))
    write_records(args.out, records)


@contextmanager
def ended_by_the_queue(tokens: Sequence[Path]) -> Iterator[None]:
    """End at SIGTERM, or before the time limit, as at an error, so that copies of slides are removed; once is enough.

    Args:
        tokens: Token files of the batch; without progress on them another start would get no further than this one.
    """
    before_it = regions_done(tokens)

    def end(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.warning("stopped by %s; the next start goes on here", signal.Signals(number).name)
        if number == WARNING and any(map(gt, regions_done(tokens), before_it)):
            start_again()
        sys.exit(128 + signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, WARNING)}
    warning = warn_before_limit()
    try:
        yield
    finally:
        warning.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def regions_done(tokens: Sequence[Path]) -> list[float]:
    """How many regions of each slide the next start need not read again."""
    return [math.inf if path.exists() else n_done(journal_path(path)) for path in tokens]


def read_weights(settings: Settings) -> dict[str, Tensor] | None:
    """The weights that the settings name; None: random weights."""
    if settings.checkpoint is None or settings.sha256 is None:
        return None
    return read_encoder_weights(Path(settings.checkpoint), settings.sha256, "patch_encoder.checkpoint")


def encode_slides(slides: Sequence[TiledSlide], batch: Batch) -> Iterator[SlideRecord]:
    """The final records of slides; each slide is opened, and copied, while the one before is encoded."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(prepare, slides[0], batch)
        try:
            for later in (*slides[1:], None):
                prepared = upcoming.result()
                if later:
                    upcoming = thread.submit(prepare, later, batch)
                with prepared.held:
                    yield finish(prepared, batch)
        finally:
            if not upcoming.cancel():
                upcoming.result().held.close()


def prepare(slide: TiledSlide, batch: Batch) -> Prepared:
    """Open a slide, unless it failed or has its tokens."""
    record, out = slide.record, slide.tokens
    if record.status == "failed":
        return Prepared(record, None, out)
    try:
        return open_slide(record, read_regions(slide.table), batch, out)
    except SlideError as error:
        raise_if_slide_away(Path(record.path), error)
        return Prepared(record.failed("encode_patches", str(error)), None, out)


def open_slide(record: SlideRecord, regions: list[Region], batch: Batch, out: Path) -> Prepared:
    """Open a slide, on the node's own disk if the settings say so, unless its tokens are there.

    Args:
        record: Status record of tile_regions.
        regions: The slide's regions.
        batch: What the slides of the batch share.
        out: Token file.

    Raises:
        SlideError: the slide cannot be opened.
    """
    check_grid(record, batch.settings)
    assert record.requested_mpp and record.region_px, "tile_regions fills these"
    request = Request(record.slide, Path(record.path), record.slide_mpp, record.requested_mpp, record.region_px)
    with ExitStack() as stack:
        opened = open_for_regions(request, batch.reading.reader, decoding_device(), stack)
        plan, reader = opened.plan, opened.regions
        source = source_of(record, regions, opened, batch)
        of_reading = {"reader": reader.reader, "reader_reason": reader.reader_reason}
        record = record.model_copy(update=of_reading | {"read_mpp": plan.read_mpp, "effective_mpp": plan.effective_mpp})
        if is_encoded(out, source, batch.shared):
            return Prepared(record, None, out)
        if batch.jobs.copy_to is not None:
            opened = copied(opened, record, batch.jobs.copy_to, stack)
        corners = np.array([(region.x_lv0, region.y_lv0) for region in regions], np.int64)
        task = Task(opened.slide, opened.regions, corners, plan, source, stamps_of(opened.slide.path))
        return Prepared(record, task, out, stack.pop_all())


def is_encoded(out: Path, source: TokenSource, shared: Path | None) -> bool:
    """Whether the slide has its tokens, from an earlier start or now from another experiment."""
    if has_tokens(out, source) and not is_damaged(out):
        log.info("%s: unchanged", source.slide)
    elif shared and take_shared(shared, source, out):
        log.info("%s: encoded before, in another experiment", source.slide)
    else:
        return False
    if shared:
        share(shared, source, out)
    return True


def copied(opened: Opened, record: SlideRecord, folder: str, stack: ExitStack) -> Opened:
    """A slide's copy on the node, opened; the slide itself if it cannot be copied, or its copy is another slide.

    Args:
        opened: The open slide.
        record: Its status record.
        folder: `jobs.copy_to`.
        stack: Closes the copy and removes it.
    """
    slide, regions = opened.slide, opened.regions
    with ExitStack() as own:
        path = own.enter_context(node_copy(record.slide, slide.path, folder))
        try:
            copy = own.enter_context(Slide(record.slide, path, record.slide_mpp, reader=slide.reader))
            if not copy.looks_like(slide):
                raise UnsuitableError("it has other levels or another resolution")
            reader = regions.of_copy(copy) if isinstance(regions, NvjpegReader) else copy
            stack.enter_context(own.pop_all())
            return replace(opened, slide=copy, regions=reader)
        except (SlideError, UnsuitableError, OSError) as error:
            fault = str(error)
    log.warning("slide %s: its copy in %s is not used (%s); read in place", record.slide, folder, fault)
    return opened


def stamps_of(path: Path) -> list[Stamp]:
    """Stamps that differ when a slide's files are rewritten or replaced; empty: it is gone."""
    try:
        return [file_stamp(file) for file in files_of(path)]
    except (OSError, UserError):
        return []


def finish(prepared: Prepared, batch: Batch) -> SlideRecord:
    """Encode the rest of a slide; its final record. A slide that fails has no tokens."""
    record, out = prepared.record, prepared.out
    try:
        if prepared.task:
            encode_in_spite_of_a_crash(record, prepared.task, batch, out)
    except SlideError as error:
        raise_if_slide_away(Path(record.path), error)
        record = record.failed("encode_patches", str(error))
    if record.status == "failed":
        log.warning("left out: %s", record.reason)
        for file in (out, journal_path(out)):
            file.unlink(missing_ok=True)
        return record
    return with_quality(record, read_quality(out))


def with_quality(record: SlideRecord, quality: Quality) -> SlideRecord:
    """The record of a slide with what its token file says of its regions, whichever run or experiment read them."""
    n_other = len(quality.other_reader)
    reason = record.reader_reason + (f"; regions read by another reader: {n_other}" if n_other else "")
    counts = {"n_regions": len(quality.sharpness), "n_invalid": len(quality.invalid)}
    return record.model_copy(update=counts | {"reader_reason": reason})


def encode_in_spite_of_a_crash(record: SlideRecord, task: Task, batch: Batch, out: Path) -> None:
    """Encode a slide; if the process that reads it crashes, continue once, with OpenSlide."""
    try:
        encode_regions(task, batch, out)
    except CrashedReaderError as crash:
        log.warning("%s; OpenSlide continues", crash)
        with Slide(record.slide, task.slide.path, record.slide_mpp, reader="openslide") as slide:
            encode_regions(replace(task, slide=slide, reader=slide), batch, out)


def encode_regions(task: Task, batch: Batch, out: Path) -> None:
    """Read, encode and write the regions that are not done, then make the token file."""
    n_patches = (task.plan.region_px // batch.settings.patch_px) ** 2
    with TokenJournal(journal_path(out), task.source.fingerprint, n_patches, batch.encoder.width) as journal:
        n_todo, start = len(task.corners) - len(journal), time.monotonic()
        for region in encode_ahead(task, len(journal), batch.encoder):
            if region is not None:
                refuse_infinite(task.slide.name, region)
            journal.append(region)
        if stamps_of(task.slide.path) != task.stamps:
            raise SlideError(f"slide {task.slide.name}: {task.slide.path} changed while it was read; run again")
        rate = n_todo / (time.monotonic() - start)
        collect_tokens(journal, task, out)
        log.info("%s: %d regions, %.2f/s", task.slide.name, len(task.corners), rate)
        journal.remove()
    if batch.shared:
        share(batch.shared, task.source, out)


def encode_ahead(task: Task, first: int, encoder: PatchEncoder) -> Iterator[EncodedRegion | None]:
    """The regions of a slide from `first` on, encoded, in their order; None for one that cannot be read.

    A region is handed out once the next one is under way, so that a GPU always has one.
    """
    under_way: list[tuple[Encoding | None, bool]] = []  # whether another reader had to read it
    with locked_regions(task.slide, task.reader, task.plan, encoder):
        for pixels in task.reader.read_regions(map(tuple, task.corners[first:].tolist()), task.plan):
            if isinstance(pixels, UnreadableRegion):
                raise_if_slide_away(task.slide.path, SlideError(pixels.reason))
                log.warning(
                    "%s: no region at x %d, y %d: %s", task.slide.name, pixels.x_lv0, pixels.y_lv0, pixels.reason
                )
                encoding = None
            else:
                encoding = encoder.start(pixels, task.plan.effective_mpp)
            under_way.append((encoding, task.reader.read_by != task.source.reader))
            if len(under_way) > 1:
                yield finished(*under_way.pop(0))
            if encoding is not None:
                encoding.wait_for_pixels()
        yield from starmap(finished, under_way)


def locked_regions(
    slide: Slide, reader: Slide | NvjpegReader, plan: ReadPlan, encoder: PatchEncoder
) -> AbstractContextManager[None]:
    """Within it a GPU copies regions from where they were read; nothing is locked if it decodes them itself."""
    return page_locked(slide.memory_of_regions(plan), encoder.device) if reader is slide else nullcontext()


def finished(encoding: Encoding | None, other_reader: bool) -> EncodedRegion | None:
    """Wait for what the encoder computed."""
    return None if encoding is None else encoding.result()._replace(other_reader=other_reader)


def collect_tokens(journal: TokenJournal, task: Task, out: Path) -> None:
    """Make the token file of the regions that are readable.

    Raises:
        SlideError: no region is left.
    """
    sharpness = np.array(journal.sharpness, np.float32)
    invalid = np.isnan(sharpness)
    kept = np.flatnonzero(~invalid)
    if not len(kept):
        raise SlideError(
            f"slide {task.source.slide}: none of its {len(invalid)} regions can be read;"
            " copy the slide again or leave it out"
        )
    quality = Quality(sharpness[kept], task.corners[invalid], task.corners[np.array(journal.other_reader)])
    write_tokens(out, map(journal.tokens, kept.tolist()), task.corners[kept], task.source, quality)


def refuse_infinite(slide: str, region: EncodedRegion) -> None:
    """Refuse tokens that training cannot use; the encoder is at fault, not the slide."""
    if not np.isfinite(region.tokens).all():
        raise UserError(
            f"slide {slide}: patch tokens are not finite or beyond float16 (65504); check patch_encoder.checkpoint,"
            " mean and std"
        )


def check_grid(record: SlideRecord, settings: Settings) -> None:
    """Refuse regions that are no whole number of patches wide."""
    if record.region_px and record.region_px % settings.patch_px:
        raise UserError(
            f"regions.region_px {record.region_px} is no multiple of patch_encoder.patch_px {settings.patch_px};"
            " change one of them"
        )


def source_of(record: SlideRecord, regions: list[Region], opened: Opened, batch: Batch) -> TokenSource:
    """Where the slide's tokens come from, with the fingerprint of everything that they depend on."""
    settings, slide, plan, reader = batch.settings, opened.slide, opened.plan, opened.regions.reader
    content = {
        "slide": slide.identity(),
        "reader": reader,
        "corners": [(region.x_lv0, region.y_lv0) for region in regions],
        "plan": asdict(plan),
        "encoder": shape_of(settings),
        "weights": settings.weights,
        "version": batch.version,
    }
    if reader in ON_GPU:
        content["tolerance"] = (MEAN_LEVELS, MOST_LEVELS)
    return TokenSource(
        slide=record.slide,
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        encoder=settings.model,
        encoder_sha256=settings.weights,
        reader=reader,
        patch_px=settings.patch_px,
        region_px=plan.region_px,
        region_lv0=plan.region_lv0,
        slide_mpp=slide.mpp,
        requested_mpp=record.requested_mpp,
        read_mpp=plan.read_mpp,
        effective_mpp=plan.effective_mpp,
    )


def shape_of(settings: Settings) -> dict[str, object]:
    """All but the weights that tokens depend on, of the settings and the file that `model` may name.

    A model's own pooling goes without saying, as in token files written before there was another.
    """
    shape = settings.model_dump(include=SHAPING, exclude={"pooling"} if settings.pooling == "model" else None)
    return shape | ({"config": Path(settings.folder, "config.json").read_text()} if settings.folder else {})

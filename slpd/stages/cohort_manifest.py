"""List the slides of a cohort: used, with their regions that are sharp enough, or left out with the reason."""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from slpd.artifacts.patch_tokens.token_file import read_coords, read_quality, sharp_regions
from slpd.artifacts.patch_tokens.used_slides import write_used
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord, read_records
from slpd.cohort_check import check_failures
from slpd.errors import UserError
from slpd.settings.slides import ON_GPU, Manifest

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--batches", type=Path, nargs="+", required=True, help="records written by encode_patches")
    parser.add_argument("--settings", required=True, help="config section `manifest` as JSON")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write (CSV)")
    parser.add_argument("--used", type=Path, required=True, help="digest of the used slides to write")


def run(args: argparse.Namespace) -> None:
    """Write the manifest, unless too many slides failed."""
    settings = Manifest.from_json(args.settings)
    encoded = sorted(chain.from_iterable(map(read_records, args.batches)), key=lambda record: record.slide)
    rows = [manifest_row(record, args.tokens_dir, settings.min_sharpness) for record in encoded]
    records = [row.record for row in rows]
    for record in records:
        if record.status == "failed":
            log.warning("left out at %s: %s", record.stage, record.reason)
    check_failures(settings.max_failed_fraction, records)
    write_manifest(args.out, rows)
    write_used(args.used, rows)
    used = [record for record in records if record.status == "ok"]
    log.info("%d of %d slides used, %d regions", len(used), len(records), sum(record.n_regions or 0 for record in used))
    n_blurred, n_invalid = sum(record.n_blurred or 0 for record in used), sum(record.n_invalid or 0 for record in used)
    warn_of_readers([record.reader for record in used])
    warn_of_other_readers([row.tokens for row in rows if row.tokens])
    log.info("their regions left out: %d blurred, %d that cannot be read", n_blurred, n_invalid)


def warn_of_readers(readers: Sequence[str | None]) -> None:
    """Say so where slides were decoded by several of: each reader on a GPU, and those on a CPU, which are equal."""
    counts = Counter(reader if reader in ON_GPU else "others" for reader in readers)
    if len(counts) > 1:
        log.warning(
            "slides were not decoded alike (%s; slides.csv says which): pixels differ by a few grey levels; to have one"
            " kind, set reading.reader to one that reads all of them",
            ", ".join(f"{kind}: {n}" for kind, n in sorted(counts.items())),
        )


def warn_of_other_readers(token_files: Sequence[Path]) -> None:
    """Say so where another reader had to read regions of a slide than its record names."""
    counts = [n for path in token_files if (n := len(read_quality(path).other_reader))]
    if counts:
        log.warning(
            "slides with regions that another reader had to read: %d, regions: %d (reader_reason in slides.csv)",
            *(len(counts), sum(counts)),
        )


def manifest_row(record: SlideRecord, tokens_dir: Path, min_sharpness: float) -> ManifestRow:
    """The slide's line, with its token file and the number of its sharp regions if it is used.

    Raises:
        UserError: the token file is missing or belongs to another set of regions.
    """
    if record.status == "failed":
        return ManifestRow(record, None)
    path = tokens_dir / f"{record.slide}.h5"
    n_tokens = len(read_coords(path))
    if n_tokens != record.n_regions:
        raise UserError(
            f"slide {record.slide}: {path} holds {n_tokens} regions, expected {record.n_regions};"
            " delete it, then run with --forcerun encode_patches"
        )
    n_sharp = len(sharp_regions(path, min_sharpness))
    if not n_sharp:
        reason = (
            f"slide {record.slide}: no region left: {n_tokens} are below manifest.min_sharpness {min_sharpness:g};"
            " lower it or leave the slide out"
        )
        return ManifestRow(record.failed("cohort_manifest", reason), None)
    counts = {"n_regions": n_sharp, "n_blurred": n_tokens - n_sharp, "min_sharpness": min_sharpness}
    return ManifestRow(record.model_copy(update=counts), path)

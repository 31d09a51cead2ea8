"""Encode the regions of a batch of slides into patch tokens.

Every finished slide stays: a batch that was killed goes on with the slides that have no current token file.
"""

import argparse
import hashlib
import json
import logging
import time
from pathlib import Path

import numpy as np

from slpd.artifacts.regions import Region, read_regions
from slpd.artifacts.slide_record import SlideRecord, read_record, write_records
from slpd.artifacts.tokens import TokenSource, read_source, write_tokens
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.models.patch_encoder import PatchEncoder
from slpd.settings.slides import PatchEncoder as Settings
from slpd.wsi import Slide

log = logging.getLogger(__name__)

# Settings that say where and how fast, not what.
WITHOUT_EFFECT = {"checkpoint", "batch_patches", "slides_per_job"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument(
        "--records", type=Path, nargs="+", required=True, help="records of tile_regions; each table beside it as .csv"
    )
    parser.add_argument("--settings", required=True, help="config section `encoder` as JSON")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files <slide>.h5")
    parser.add_argument("--out", type=Path, required=True, help="final records of the batch to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Encode the slides that are not encoded yet; a slide that cannot be read gets a record that says why."""
    settings = Settings.from_json(args.settings)
    encoder = PatchEncoder(settings)
    records = []
    for path in args.records:
        record = read_record(path)
        tokens = args.tokens_dir / f"{record.slide}.h5"
        if record.status == "ok":
            try:
                record = encode_slide(record, read_regions(path.with_suffix(".csv")), encoder, args.version, tokens)
            except SlideError as error:
                log.warning("left out: %s", error)
                record = record.failed("encode_patches", str(error))
        if record.status == "failed":
            tokens.unlink(missing_ok=True)
        records.append(record)
    write_records(args.out, records)


def encode_slide(
    record: SlideRecord, regions: list[Region], encoder: PatchEncoder, version: int, out: Path
) -> SlideRecord:
    """Write the slide's tokens, unless the file has them already.

    Args:
        record: Status record of tile_regions.
        regions: The slide's regions.
        encoder: The patch encoder.
        version: Result version of the stage.
        out: Token file.

    Returns:
        The record, completed.

    Raises:
        SlideError: the slide cannot be read.
    """
    check_grid(record, encoder.settings)
    with Slide(record.slide, Path(record.path), record.slide_mpp) as slide:
        assert record.requested_mpp and record.region_px, "tile_regions fills these"
        plan = plan_read(slide.mpp, slide.downsamples, record.requested_mpp, record.region_px)
        source = describe(record, regions, slide, plan, encoder.settings, version)
        if has_tokens(out, source):
            log.info("%s: unchanged, %d regions", record.slide, len(regions))
        else:
            start = time.monotonic()
            corners = [(region.x_lv0, region.y_lv0) for region in regions]
            tokens = np.stack([encoder.encode(pixels) for pixels in slide.read_regions(corners, plan)])  # (N, P, D)
            write_tokens(out, tokens, np.array(corners, np.int64), source)
            log.info("%s: %d regions, %.2f/s", record.slide, len(regions), len(regions) / (time.monotonic() - start))
    return record.model_copy(update={"read_mpp": plan.read_mpp, "effective_mpp": plan.effective_mpp})

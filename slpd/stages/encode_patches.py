"""Encode the regions of a batch of slides into patch tokens.

Every finished slide stays: a batch that was killed goes on with the slides that have no current token file.
"""

import argparse
import hashlib
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.encoder_weights import read_encoder_weights
from slpd.artifacts.regions import Region, read_regions
from slpd.artifacts.slide_record import SlideRecord, read_record, write_records
from slpd.artifacts.tokens import TokenSource, read_source, write_tokens
from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.models.patch_encoder import PatchEncoder
from slpd.settings.slides import PatchEncoder as Settings
from slpd.wsi import Slide

log = logging.getLogger(__name__)

# Settings that tokens depend on, beside the weights; the others say where and how fast.
SHAPING = {"model", "arguments", "patch_px", "mean", "std"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument(
        "--records", type=Path, nargs="+", required=True, help="records of tile_regions; each table beside it as .csv"
    )
    parser.add_argument("--settings", required=True, help="config section `patch_encoder` as JSON")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files <slide>.h5")
    parser.add_argument("--out", type=Path, required=True, help="final records of the batch to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Encode the slides that are not encoded yet; a slide that cannot be read gets a record that says why."""
    settings = Settings.from_json(args.settings)
    encoder = PatchEncoder(settings, read_weights(settings))
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


def read_weights(settings: Settings) -> dict[str, Tensor] | None:
    """The weights that the settings name; None: random weights."""
    if settings.checkpoint is None or settings.sha256 is None:
        return None
    return read_encoder_weights(Path(settings.checkpoint), settings.sha256, "patch_encoder.checkpoint")


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
            refuse_infinite(record.slide, tokens)
            write_tokens(out, tokens, np.array(corners, np.int64), source)
            log.info("%s: %d regions, %.2f/s", record.slide, len(regions), len(regions) / (time.monotonic() - start))
    return record.model_copy(update={"read_mpp": plan.read_mpp, "effective_mpp": plan.effective_mpp})


def refuse_infinite(slide: str, tokens: NDArray[np.float16]) -> None:
    """Refuse tokens that no training could use; the encoder is at fault, not the slide."""
    if not np.isfinite(tokens).all():
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


def describe(
    record: SlideRecord, regions: list[Region], slide: Slide, plan: ReadPlan, settings: Settings, version: int
) -> TokenSource:
    """Where the slide's tokens come from, with the fingerprint of everything that they depend on."""
    weights = settings.sha256 or f"random-{settings.seed}"
    content = {
        "slide": slide.identity(),
        "corners": [(region.x_lv0, region.y_lv0) for region in regions],
        "plan": asdict(plan),
        "encoder": settings.model_dump(include=SHAPING),
        "weights": weights,
        "version": version,
    }
    return TokenSource(
        slide=record.slide,
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        encoder=settings.model,
        encoder_sha256=weights,
        reader=slide.reader,
        patch_px=settings.patch_px,
        region_px=plan.region_px,
        region_lv0=plan.region_lv0,
        slide_mpp=slide.mpp,
        requested_mpp=record.requested_mpp or plan.effective_mpp,
        read_mpp=plan.read_mpp,
        effective_mpp=plan.effective_mpp,
    )


def has_tokens(path: Path, source: TokenSource) -> bool:
    """Whether the file holds just these tokens; a damaged file does not."""
    try:
        return path.exists() and read_source(path) == source
    except (UserError, TypeError):  # TypeError: attributes of another program or version
        return False

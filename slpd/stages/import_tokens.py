"""Import patch tokens that were made elsewhere: the sheet's paths lead to token files instead of slides.

What comes after the tokens is then the same: the imported files stand in for those of encode_patches.
"""

import argparse
import hashlib
import logging
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from slpd.artifacts.foreign_tokens import ForeignTokens, open_foreign_tokens
from slpd.artifacts.sheet import TOKEN_SUFFIXES, SheetRow, read_sheet
from slpd.artifacts.slide_record import SlideRecord, write_records
from slpd.artifacts.tokens import TokenSource, write_tokens
from slpd.errors import SlideError, UserError
from slpd.settings.section import describe

log = logging.getLogger(__name__)

Shape = tuple[int, int]  # patches per region, token width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet; path: .h5, .hdf5 or .pt files")
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files <slide>.h5")
    parser.add_argument("--out", type=Path, required=True, help="records of the slides to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Import every slide of the sheet; a file that cannot serve gets a record that says why."""
    records, first = [], None
    rows = read_sheet(args.sheet)
    if not rows[0].holds_tokens:
        raise UserError(f"{args.sheet}: its paths lead to slides, expected {', '.join(TOKEN_SUFFIXES)} files of tokens")
    for row in rows:
        out = args.tokens_dir / f"{row.slide}.h5"
        try:
            with open_foreign_tokens(row.slide, Path(row.path)) as tokens:
                first = first or (tokens.path, tokens.shape[1:])
                refuse_other_shape(tokens, *first)
                records.append(import_slide(row, tokens, args.version, out))
        except SlideError as error:
            log.warning("left out: %s", error)
            out.unlink(missing_ok=True)
            records.append(SlideRecord(slide=row.slide, path=row.path).failed("import_tokens", str(error)))
    write_records(args.out, records)


def refuse_other_shape(tokens: ForeignTokens, first: Path, shape: Shape) -> None:
    """Refuse a cohort whose files come from different encoders or grids."""
    n_patches, width = tokens.shape[1:]
    if (n_patches, width) != shape:
        raise UserError(
            f"slide {tokens.slide}: {tokens.path} has {n_patches} patches of width {width} per region,"
            f" but {first} has {shape[0]} of {shape[1]}; a cohort needs one encoder and one size of regions"
        )


def import_slide(row: SheetRow, tokens: ForeignTokens, version: int, out: Path) -> SlideRecord:
    """Write the tokens of a slide as encode_patches would, with what the file states of their origin.

    Raises:
        SlideError: a token is not finite.
    """
    with open(tokens.path, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    known = {"slide_mpp": row.mpp} if row.mpp else {}
    own = {"slide": row.slide, "fingerprint": hashlib.sha256(f"{content} {version}".encode()).hexdigest()}
    source = TokenSource(**tokens.stated | known | own)
    n_regions = tokens.shape[0]
    coords = np.full((n_regions, 2), -1, np.int64) if tokens.coords is None else tokens.coords
    write_tokens(out, tokens.regions(), coords, source)
    log.info("%s: %d regions of %d patches, width %d", row.slide, *tokens.shape)
    shared = {"reader", "slide_mpp", "region_px", "region_lv0", "requested_mpp", "read_mpp", "effective_mpp"}
    stated = {name: getattr(source, name) for name in shared}
    try:
        return SlideRecord(slide=row.slide, path=row.path, n_regions=n_regions, **stated)
    except ValidationError as error:
        raise SlideError(f"slide {row.slide}: {describe(error, SlideRecord, str(tokens.path), stated)}") from error

"""Import patch tokens that were made elsewhere: the sheet's paths lead to token files instead of slides.

All that follows is the same: the imported files replace those of encode_patches.
"""

import argparse
import hashlib
import logging
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from slpd.artifacts.disk import raise_if_slide_away
from slpd.artifacts.outside.foreign_tokens import ForeignTokens, open_foreign_tokens
from slpd.artifacts.outside.patch_features import AskedRegions, PatchFeatures
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.sheet import TOKEN_SUFFIXES, SheetRow, read_sheet
from slpd.artifacts.slides.slide_record import SlideRecord, write_records
from slpd.errors import SlideError, UserError, first_of
from slpd.settings.section import first_fault

log = logging.getLogger(__name__)

NAMED = 3  # pairs named in a message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet; path: .h5, .hdf5 or .pt files")
    parser.add_argument("--grid", type=int, required=True, help="patches along a region's side, by the config")
    parser.add_argument("--patch-px", type=int, required=True, help="side of a patch, px, by the config")
    parser.add_argument("--mpp", type=float, required=True, help="µm per pixel of patches, by the config")
    parser.add_argument(
        "--min-tissue", type=float, required=True, help="least share of a region's patches that a file of patches has"
    )
    parser.add_argument("--version", type=int, required=True, help="result version of the stage")
    parser.add_argument("--tokens-dir", type=Path, required=True, help="folder of the token files <slide>.h5")
    parser.add_argument("--out", type=Path, required=True, help="records of the slides to write (JSON)")


def run(args: argparse.Namespace) -> None:
    """Import every slide of the sheet; a file that cannot serve gets a record that says why."""
    records, cohort = [], Imported(args.grid)
    asked = AskedRegions(args.grid, args.patch_px, args.mpp, args.min_tissue)
    rows = read_sheet(args.sheet)
    if not rows[0].holds_tokens:
        raise UserError(f"{args.sheet}: its paths lead to slides, expected {', '.join(TOKEN_SUFFIXES)} files of tokens")
    for row in rows:
        out = args.tokens_dir / f"{row.slide}.h5"
        try:
            with open_foreign_tokens(row.slide, Path(row.path), row.mpp, asked) as tokens:
                cohort.check(tokens)
                records.append(import_slide(row, tokens, args.version, out))
                cohort.add(row, tokens)
        except SlideError as error:
            raise_if_slide_away(Path(row.path), error)
            log.warning("left out: %s", error)
            out.unlink(missing_ok=True)
            records.append(SlideRecord(slide=row.slide, path=row.path).failed("import_tokens", str(error)))
    cohort.refuse_ambiguous()
    cohort.refuse_copies()
    write_records(args.out, records)


class Imported:
    """What the token files of a cohort must have in common, and what they must not share.

    Args:
        grid: Patches along a region's side, by the config.
    """

    def __init__(self, grid: int) -> None:
        self._grid, self._width = grid, 0
        self._first = Path()
        self._rows: dict[str, list[SheetRow]] = {}  # digest of tokens -> slides that have them
        self._may_be_bags = True  # no file has said what its first axis is: coords, or a second region

    def check(self, tokens: ForeignTokens | PatchFeatures) -> None:
        """Refuse a file of another grid than the config's, and a cohort whose files come from different encoders.

        Raises:
            SlideError: the grid is another.
            UserError: the width is another than that of the files before.
        """
        _, n_patches, width = tokens.shape
        if n_patches != self._grid**2:
            swapped = "; are its last two axes swapped?" if width == self._grid**2 else ""
            raise SlideError(
                f"slide {tokens.slide}: {tokens.path} has {n_patches} patches per region, but regions.region_px and"
                f" patch_encoder.patch_px make {self._grid} x {self._grid} = {self._grid**2}{swapped}; set both as the"
                " tokens were made, or leave the slide out"
            )
        if self._width and width != self._width:
            raise UserError(
                f"slide {tokens.slide}: {tokens.path} has tokens of width {width}, but {self._first} of {self._width};"
                " a cohort needs one encoder"
            )
        self._width, self._first = width, self._first if self._width else tokens.path

    def add(self, row: SheetRow, tokens: ForeignTokens | PatchFeatures) -> None:
        """Note a file that was imported."""
        self._rows.setdefault(tokens.information.digest, []).append(row)
        self._may_be_bags &= tokens.shape[0] == 1 and tokens.coords is None
        if tokens.information.n_zero_tokens:
            about = tokens.information
            log.warning("%s: %d of %d tokens are zeros", row.slide, about.n_zero_tokens, about.n_tokens)

    def refuse_ambiguous(self) -> None:
        """Refuse a cohort in which every file may be one region, or a bag of single patches.

        Raises:
            UserError: naming the shape.
        """
        if self._rows and self._may_be_bags:
            n_patches = self._grid**2
            raise UserError(
                f"every token file is (1, {n_patches}, {self._width}) without coords: one region of {self._grid} x"
                f" {self._grid} patches, or a bag of {n_patches} single patches, which have no grid; add coords, the"
                " corner of the region, if these are regions"
            )

    def refuse_copies(self) -> None:
        """Refuse the same tokens under two patients, which folds would part; log those of one patient.

        Raises:
            UserError: naming the pairs.
        """
        copies = [(first, other) for first, *others in self._rows.values() for other in others]
        parted = [f"{one.slide} and {other.slide}" for one, other in copies if one.patient != other.patient]
        if parted:
            raise UserError(
                f"slides of different patients have the same tokens: {first_of(parted, NAMED)}; remove the copies"
            )
        if copies:
            pairs = [f"{one.slide} and {other.slide}" for one, other in copies]
            log.warning("slides with the same tokens count twice: %s", first_of(pairs, NAMED))


def import_slide(row: SheetRow, tokens: ForeignTokens | PatchFeatures, version: int, out: Path) -> SlideRecord:
    """Write the tokens of a slide as encode_patches would, with what the file states of their origin.

    Raises:
        SlideError: a token is not finite, or regions hold no information.
    """
    with open(tokens.path, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    known = {"slide_mpp": row.mpp} if row.mpp else {}
    depends_on = f"{content} {version}{tokens.grouping}"
    own = {"slide": row.slide, "fingerprint": hashlib.sha256(depends_on.encode()).hexdigest()}
    source = TokenSource(**tokens.stated | known | own)
    n_regions = tokens.shape[0]
    coords = np.full((n_regions, 2), -1, np.int64) if tokens.coords is None else tokens.coords
    write_tokens(out, tokens.regions(), coords, source, present=tokens.present)
    log.info("%s: %d regions of %d patches, width %d%s", row.slide, *tokens.shape, tokens.summary)
    shared = {"reader", "slide_mpp", "region_px", "region_lv0", "requested_mpp", "read_mpp", "effective_mpp"}
    stated = {name: getattr(source, name) for name in shared}
    try:
        return SlideRecord(
            slide=row.slide, path=row.path, n_regions=n_regions, n_little_tissue=tokens.n_excluded, **stated
        )
    except ValidationError as error:
        raise SlideError(f"slide {row.slide}: {first_fault(error, SlideRecord, str(tokens.path), stated)}") from error

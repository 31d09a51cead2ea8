"""Import patch tokens that were made elsewhere: the sheet's paths lead to token files instead of slides.

All that follows is the same: the imported files replace those of encode_patches.
"""

import argparse
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from slpd.artifacts.atomic import atomic_path, link_or_copy
from slpd.artifacts.checksums import is_damaged, is_proven
from slpd.artifacts.disk import raise_if_slide_away
from slpd.artifacts.outside.foreign_tokens import ForeignTokens, open_foreign_tokens
from slpd.artifacts.outside.patch_features import AskedRegions, PatchFeatures
from slpd.artifacts.patch_tokens.token_file import TokenSource, has_tokens, open_tokens, read_source, write_tokens
from slpd.artifacts.patch_tokens.token_information import TokenInformation
from slpd.artifacts.slides.sheet import TOKEN_SUFFIXES, SheetRow, read_sheet
from slpd.artifacts.slides.slide_record import SlideRecord, write_records
from slpd.errors import SlideError, UserError, first_of
from slpd.settings.section import first_fault

log = logging.getLogger(__name__)

NAMED = 3  # pairs named in a message
THREADS = 8  # files are on a network file system


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
    rows, cohort = read_sheet(args.sheet), Imported()
    asked = AskedRegions(args.grid, args.patch_px, args.mpp, args.min_tissue)
    if not rows[0].holds_tokens:
        raise UserError(f"{args.sheet}: its paths lead to slides, expected {', '.join(TOKEN_SUFFIXES)} files of tokens")
    places = [args.tokens_dir / f"{row.slide}.h5" for row in rows]
    with ThreadPoolExecutor(THREADS) as pool:
        files = [pool.submit(import_file, *slide, asked, args.version) for slide in zip(rows, places, strict=True)]
        try:
            for file in files:
                cohort.add(file.result())
        finally:  # a cohort that is refused is not imported to its end
            pool.shutdown(cancel_futures=True)
    cohort.refuse_ambiguous(args.grid)
    cohort.refuse_copies()
    write_records(args.out, cohort.records)


@dataclass(frozen=True)
class TokenImport:
    """A file that was imported, or could not be."""

    row: SheetRow
    record: SlideRecord
    shape: tuple[int, int, int] = (0, 0, 0)  # regions, patches per region, width; zeros: unknown
    has_coords: bool = False
    information: TokenInformation = field(default_factory=TokenInformation)
    summary: str = ""  # of the patches in its regions, for people
    encoder: str = ""  # as the file names it


class Imported:
    """The records of a cohort, what its token files must have in common, and what they must not share."""

    def __init__(self) -> None:
        self.records: list[SlideRecord] = []
        self._width, self._first = 0, ""
        self._encoder = ""  # that files name; not all do
        self._rows: dict[str, list[SheetRow]] = {}  # digest of tokens -> slides that have them
        self._may_be_bags = True  # no file has said what its first axis is: coords, or a second region

    def add(self, file: TokenImport) -> None:
        """The next file of the sheet.

        Raises:
            UserError: the width or the encoder is another than that of the files before.
        """
        n_regions, _, width = file.shape
        if self._width and width not in (0, self._width):
            raise UserError(
                f"slide {file.row.slide}: {file.row.path} has tokens of width {width}, but {self._first} of"
                f" {self._width}; a cohort needs one encoder"
            )
        if width and not self._width:
            self._width, self._first = width, file.row.path
        if file.encoder and self._encoder not in ("", file.encoder):
            raise UserError(
                f"slide {file.row.slide}: {file.row.path} has tokens of {file.encoder}, others of {self._encoder};"
                " a cohort needs one encoder"
            )
        self._encoder = self._encoder or file.encoder
        self.records.append(file.record)
        if file.record.status == "failed":
            log.warning("left out: %s", file.record.reason)
            return
        self._rows.setdefault(file.information.digest, []).append(file.row)
        self._may_be_bags &= n_regions == 1 and not file.has_coords
        if n_zeros := file.information.n_zero_tokens:
            log.warning("%s: %d of %d tokens are zeros", file.row.slide, n_zeros, file.information.n_tokens)
        log.info("%s: %d regions of %d patches, width %d%s", file.row.slide, *file.shape, file.summary)

    def refuse_ambiguous(self, grid: int) -> None:
        """Refuse a cohort in which every file may be one region, or a bag of single patches.

        Args:
            grid: Patches along a region's side, by the config.

        Raises:
            UserError: naming the shape.
        """
        if self._rows and self._may_be_bags:
            n_patches = grid**2
            raise UserError(
                f"every token file is (1, {n_patches}, {self._width}) without coords: one region of {grid} x"
                f" {grid} patches, or a bag of {n_patches} single patches, which have no grid; add coords, the"
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


def import_file(row: SheetRow, out: Path, asked: AskedRegions, version: int) -> TokenImport:
    """Import the file of a slide.

    Args:
        row: The slide's line.
        out: The token file to write.
        asked: The regions that the config asks for.
        version: Result version of the stage.

    Raises:
        OSError: the file's disk is away.
    """
    shape = (0, 0, 0)
    try:
        with open_foreign_tokens(row.slide, Path(row.path), row.mpp, asked) as tokens:
            refuse_other_grid(tokens, asked.side)
            shape = tokens.shape
            record = import_slide(row, tokens, version, out)
            has_coords, encoder = tokens.coords is not None, tokens.stated.get("encoder") or ""
            return TokenImport(row, record, shape, has_coords, tokens.information, tokens.summary, encoder)
    except SlideError as error:
        raise_if_slide_away(Path(row.path), error)
        out.unlink(missing_ok=True)
        return TokenImport(row, SlideRecord(slide=row.slide, path=row.path).failed("import_tokens", str(error)), shape)


def refuse_other_grid(tokens: ForeignTokens | PatchFeatures, grid: int) -> None:
    """Refuse a file of another grid than the config's.

    Raises:
        SlideError: naming both.
    """
    _, n_patches, width = tokens.shape
    if n_patches != grid**2:
        swapped = "; are its last two axes swapped?" if width == grid**2 else ""
        raise SlideError(
            f"slide {tokens.slide}: {tokens.path} has {n_patches} patches per region, but regions.region_px and"
            f" patch_encoder.patch_px make {grid} x {grid} = {grid**2}{swapped}; set both as the tokens were made, or"
            " leave the slide out"
        )


def import_slide(row: SheetRow, tokens: ForeignTokens | PatchFeatures, version: int, out: Path) -> SlideRecord:
    """Give the tokens of a slide the place that encode_patches would; the slide's record.

    A file of this program is linked with all that it states. Tokens that an earlier start has written are read alone.

    Raises:
        SlideError: a token is not finite, or regions hold no information.
    """
    if fits(row, tokens):
        check(tokens)
        with atomic_path(out) as temporary:
            link_or_copy(tokens.path, temporary)
        return record_of(row, tokens, read_source(out))
    known = {"slide_mpp": row.mpp} if row.mpp else {}
    identity = {"slide": row.slide, "fingerprint": import_fingerprint(tokens, version)}
    source = TokenSource(**tokens.stated | known | identity)
    if has_tokens(out, source) and not is_damaged(out):
        check_written(tokens, out)
    else:
        coords = np.full((tokens.shape[0], 2), -1, np.int64) if tokens.coords is None else tokens.coords
        write_tokens(out, tokens.regions(), coords, source, present=tokens.present)
    return record_of(row, tokens, source)


def fits(row: SheetRow, tokens: ForeignTokens | PatchFeatures) -> bool:
    """Whether a file is as this program would write it for the slide, values included."""
    return (
        tokens.path.suffix == ".h5"
        and tokens.stated.get("slide") == row.slide
        and row.mpp in (None, tokens.stated.get("slide_mpp"))
        and is_proven(tokens.path)
    )


def check(tokens: ForeignTokens | PatchFeatures) -> None:
    """Read every region for its faults and information alone.

    Raises:
        SlideError: as `regions`.
    """
    for _ in tokens.regions():
        pass


def check_written(tokens: ForeignTokens | PatchFeatures, out: Path) -> None:
    """The same where the tokens are written: regions are read from there, which have half the bytes."""
    if isinstance(tokens, PatchFeatures):
        check(tokens)
        return
    with open_tokens(out) as written:
        check(replace(tokens, path=out, features=written["features"]))


def import_fingerprint(tokens: ForeignTokens | PatchFeatures, version: int) -> str:
    """The fingerprint of tokens made elsewhere, by the bytes of their file and the regions that are made of them."""
    with open(tokens.path, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(f"{content} {version}{tokens.grouping}".encode()).hexdigest()


def record_of(row: SheetRow, tokens: ForeignTokens | PatchFeatures, source: TokenSource) -> SlideRecord:
    """The status record of an imported slide.

    Raises:
        SlideError: what the file states of its origin cannot be.
    """
    shared = {"reader", "slide_mpp", "region_px", "region_lv0", "requested_mpp", "read_mpp", "effective_mpp"}
    stated = {name: getattr(source, name) for name in shared}
    try:
        return SlideRecord(
            slide=row.slide, path=row.path, n_regions=tokens.shape[0], n_little_tissue=tokens.n_excluded, **stated
        )
    except ValidationError as error:
        raise SlideError(f"slide {row.slide}: {first_fault(error, SlideRecord, str(tokens.path), stated)}") from error

"""Draw the contact sheet of a cohort: every slide with its tissue and regions, or why it was left out."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.manifest import ManifestRow, read_manifest
from slpd.artifacts.picture import read_picture, write_picture
from slpd.plots.overlay import contact_sheet

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--manifest", type=Path, required=True, help="cohort manifest")
    parser.add_argument("--overlays-dir", type=Path, required=True, help="folder of the overlays of tile_regions")
    parser.add_argument("--out", type=Path, required=True, help="picture to write (JPEG)")


def run(args: argparse.Namespace) -> None:
    """Draw the sheet."""
    rows = read_manifest(args.manifest)
    pictures = (read_picture(args.overlays_dir / f"{row.record.slide}.jpg") for row in rows)
    write_picture(args.out, contact_sheet(pictures, [caption(row) for row in rows]))
    log.info("%d slides drawn", len(rows))


def caption(row: ManifestRow) -> tuple[str, str]:
    """Slide id, and the numbers of regions or the reason for leaving the slide out."""
    record = row.record
    if not row.used:
        return record.slide, record.reason.removeprefix(f"slide {record.slide}: ")
    excluded = {
        "little tissue": record.n_little_tissue,
        "pen": record.n_pen,
        "padding": record.n_padding,
        "blurred": record.n_blurred,
        "invalid": record.n_invalid,
    }
    counts = [f"{count} {reason}" for reason, count in excluded.items() if count]
    return record.slide, f"{record.n_regions} regions" + (f"; excluded: {', '.join(counts)}" if counts else "")

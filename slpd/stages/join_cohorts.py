"""Make the manifest of a cohort of cohorts: their slides in one, with the tokens that they have already."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.used_slides import write_used
from slpd.artifacts.slides.manifest import read_manifest, write_manifest
from slpd.errors import UserError

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `join_cohorts`."""
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifests of the cohorts")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write (CSV)")
    parser.add_argument("--used", type=Path, required=True, help="digest of the used slides to write")


def run(args: argparse.Namespace) -> None:
    """Write the slides of all manifests, used or left out, in order of slide id.

    Raises:
        UserError: their tokens differ in width, grid or encoder.
    """
    rows = [row for path in args.manifests for row in read_manifest(path)]
    write_manifest(args.out, rows)
    write_used(args.used, rows)
    try:
        open_cohort_tokens(args.out)
    except UserError as error:
        raise UserError(f"these cohorts cannot be one (cohorts.of): {error}") from error
    log.info("%d of %d slides used, of %d cohorts", sum(row.used for row in rows), len(rows), len(args.manifests))

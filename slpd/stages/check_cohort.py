"""Check a cohort against everything that is asked of it, before GPU time is spent."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.artifacts.sheet import read_sheet
from slpd.artifacts.slide_record import read_record
from slpd.cohort_check import CohortPlan, check_cohort

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet (CSV)")
    parser.add_argument("--records", type=Path, required=True, help="folder of the records of tile_regions")
    parser.add_argument("--plan", required=True, help="what is asked of the cohort (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="findings to write (text)")


def run(args: argparse.Namespace) -> None:
    """Read sheet and records, check, write the findings."""
    sheet = read_sheet(args.sheet)
    records = [read_record(args.records / f"{row.slide}.json") for row in sheet]
    findings = check_cohort(CohortPlan.from_json(args.plan), records, sheet)
    for line in findings:
        log.info(line)
    write_text(args.out, "\n".join(findings) + "\n")

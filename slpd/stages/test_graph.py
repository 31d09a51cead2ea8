"""Test what neighbours in the slide graph share beyond chance: class, site, scanner and all else in the sheet."""

import argparse
import logging
from pathlib import Path

from slpd.analysis.neighbour_agreement import agreement_tests
from slpd.analysis.slide_properties import slide_properties
from slpd.artifacts.learned.graph_test import write_graph_test
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.artifacts.slides.manifest import used_slides
from slpd.artifacts.slides.sheet import SheetRow, read_sheet
from slpd.errors import UserError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `test_graph`."""
    parser.add_argument("--graph", type=Path, required=True, help="slide graph (.npz)")
    parser.add_argument("--sheet", type=Path, required=True, help="sheet of the cohort")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--permutations", type=int, required=True, help="permutations of each test")
    parser.add_argument("--seed", type=int, required=True, help="seed of the permutations")
    parser.add_argument("--out", type=Path, required=True, help="tests to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Test every property in which slides differ."""
    graph = read_slide_graph(args.graph)
    slide_mpp = {row.record.slide: row.record.slide_mpp for row in used_slides(args.manifest)}
    properties = slide_properties(rows_of(args.sheet, graph.slides), slide_mpp)
    tests = agreement_tests(properties, graph.neighbours, args.permutations, args.seed)
    for test in tests:
        logger.info(
            "%s: %.3f of %d pairs agree, %.3f by chance, adjusted p %.2g",
            *(test.column, test.observed, test.n_pairs, test.expected, test.p_adjusted),
        )
    write_graph_test(args.out, tests)


def rows_of(sheet: Path, slides: list[str]) -> list[SheetRow]:
    """The lines of a sheet about some slides, in their order.

    Raises:
        UserError: a slide is not in the sheet.
    """
    rows = {row.slide: row for row in read_sheet(sheet)}
    missing = [slide for slide in slides if slide not in rows]
    if missing:
        raise UserError(f"{sheet}: slides of the graph are not in it: {', '.join(missing)}; run the workflow again")
    return [rows[slide] for slide in slides]

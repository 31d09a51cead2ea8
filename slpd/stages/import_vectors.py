"""Take vectors made elsewhere instead of a region encoder's: one per slide, or a bag of them."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.absent_slides import AbsentSlide, write_absent
from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.outside.foreign_vectors import read_bag, read_slide_vector
from slpd.artifacts.outside.vector_files import vector_file
from slpd.artifacts.slides.manifest import used_slides
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import SlideError, UserError

log = logging.getLogger(__name__)

Bag = tuple[NDArray[np.float32], NDArray[np.int64]]  # (n, D) vectors, (n, 2) corners


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `import_vectors`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the files <slide>.h5 or <slide>.pt")
    parser.add_argument("--key", required=True, help="name of the vectors in a file")
    parser.add_argument("--per", choices=["slide", "region"], required=True, help="what a vector is of")
    parser.add_argument("--absent", type=Path, required=True, help="slides without vectors to write (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Read the vectors of every used slide; write bags, and the slides that have none with the reason.

    Raises:
        UserError: no slide has vectors, or those of two slides are not of one width.
    """
    bags: dict[str, Bag] = {}
    absent: list[AbsentSlide] = []
    for row in used_slides(args.manifest):
        try:
            bags[row.record.slide] = read_vectors(row.record, args.folder, args.key, args.per)
        except SlideError as error:
            absent.append(AbsentSlide(row.record.slide, str(error)))
            log.warning("%s: %s", row.record.slide, error)
    refuse_mixed_vectors(args.folder, bags, absent)
    write_bags(
        args.out,
        {slide: bag for slide, (bag, _) in bags.items()},
        {slide: corners for slide, (_, corners) in bags.items()},
    )
    write_absent(args.absent, absent)
    log.info("vectors of %d slides, %d slides without", len(bags), len(absent))


def read_vectors(record: SlideRecord, folder: Path, key: str, per: str) -> Bag:
    """The vectors of a slide.

    Raises:
        SlideError: there are none.
    """
    path = vector_file(folder, record.slide, record.path)
    if path is None:
        raise SlideError("no file")
    if per == "region":
        return read_bag(path, key)
    return read_slide_vector(path, key), np.full((1, 2), -1, np.int64)


def refuse_mixed_vectors(folder: Path, bags: Mapping[str, Bag], absent: Sequence[AbsentSlide]) -> None:
    """Refuse vectors of two encoders, and a folder in which no slide has any."""
    if not bags:
        first = f" (slide {absent[0].slide}: {absent[0].reason})" if absent else ""
        raise UserError(f"{folder}: no slide of the cohort has vectors{first}; correct folder or key of the variant")
    first_slide, (first_bag, _) = next(iter(bags.items()))
    for slide, (bag, _) in bags.items():
        if bag.shape[1] != first_bag.shape[1]:
            raise UserError(
                f"{folder}: vectors of slide {slide} have {bag.shape[1]} values, those of slide {first_slide}"
                f" {first_bag.shape[1]}; a variant needs one encoder"
            )

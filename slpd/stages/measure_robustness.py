"""Measure whether the vectors of a variant follow the class of their slides or the site."""

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.slide_properties import column_value
from slpd.analysis.vector_robustness import Marks, robustness, scoreable
from slpd.artifacts.evaluation.robustness_table import RobustnessLine, VectorKind, write_robustness
from slpd.artifacts.learned.bags import Bag, read_bags
from slpd.artifacts.slides.sheet import read_sheet
from slpd.settings.evaluation import Intervals
from slpd.settings.robustness import Robustness

log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]  # (n, D)
Bags = Mapping[str, Bag]  # slide -> its region vectors


@dataclass(frozen=True)
class MarkedSlide:
    """A slide with what vectors may follow."""

    slide: str
    patient: str
    label: str
    site: str  # value of the confounder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--bags", type=Path, required=True, help="bags of the cohort (HDF5)")
    parser.add_argument("--sheet", type=Path, required=True, help="cohort sheet with classes and confounders (CSV)")
    parser.add_argument("--label", required=True, help="column of the sheet with the classes")
    parser.add_argument("--classes", required=True, help="the classes (JSON); other slides are left out")
    parser.add_argument("--settings", required=True, help="section robustness of the config (JSON)")
    parser.add_argument("--intervals", required=True, help="section intervals of the config (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="robustness to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Read bags and sheet, measure, write."""
    settings, intervals = Robustness.from_json(args.settings), Intervals.from_json(args.intervals)
    bags, classes = read_bags(args.bags), json.loads(args.classes)
    rows = [row for row in read_sheet(args.sheet) if row.slide in bags and row.labels[args.label] in classes]
    lines: list[RobustnessLine] = []
    for confounder in settings.confounders:
        slides = [
            MarkedSlide(row.slide, row.patient, row.labels[args.label], site)
            for row in rows
            if (site := column_value(row, confounder))
        ]
        lines += measured(confounder, slides, bags, settings, intervals)
    for line in lines:
        log.info(
            "%s, vectors of %s: index %.3f (%.3f by chance), margin %.3f (%.3f); %d of %d slides%s",
            *(line.confounder, line.vectors, line.index, line.index_by_chance, line.margin, line.margin_by_chance),
            *(line.n_slides, line.n_slides_given, f": {line.why}" if line.why else ""),
        )
    write_robustness(args.out, lines)


def measured(
    confounder: str,
    slides: Sequence[MarkedSlide],
    bags: Bags,
    settings: Robustness,
    intervals: Intervals,
) -> Iterator[RobustnessLine]:
    """The lines of a confounder: of slide vectors, and of drawn region vectors where slides have several.

    Args:
        confounder: Its name.
        slides: Those with a class, a value of the confounder and vectors.
        bags: Slide -> (n, D) region vectors.
        settings: Numbers of neighbours and regions.
        intervals: Of the margin.
    """
    marks = Marks(
        numbers([slide.label for slide in slides]),
        numbers([slide.site for slide in slides]),
        numbers([slide.patient for slide in slides]),
    )
    kept = scoreable(marks, settings.margin_neighbours)
    of_slides, names = marks.where(kept), [slide.slide for slide, chosen in zip(slides, kept, strict=True) if chosen]
    line = partial(
        RobustnessLine, confounder, n_slides=len(names), n_slides_given=len(slides), n_sites=n_values(of_slides.sites)
    )
    if not names:
        m = settings.margin_neighbours
        why = f"no {confounder} has {m} slides of other classes and {m} of the same elsewhere"
        yield line("slides", 0, why=why if slides else f"no slide has a value in column {confounder}")
        return
    for kind, vectors in drawn_vectors(bags, names, settings).items():
        n_vectors = sum(map(len, vectors))
        try:
            figures = robustness(vectors, of_slides, settings, intervals)
        except RuntimeError as error:  # croma's, where vectors coincide
            yield line(kind, n_vectors, why=" ".join(str(error).split()))
        else:
            yield line(kind, n_vectors, **vars(figures))


def n_values(values: NDArray[np.int64]) -> int:
    """How many different ones there are."""
    return len(np.unique(values))


def drawn_vectors(bags: Bags, slides: Sequence[str], settings: Robustness) -> dict[VectorKind, list[Vectors]]:
    """The vectors of each slide: their mean, and some of them where slides have several."""
    drawn: dict[VectorKind, list[Vectors]] = {
        "slides": [np.asarray(bags[slide]).mean(axis=0, keepdims=True) for slide in slides]  # (1, D)
    }
    if settings.regions and any(len(bags[slide]) > 1 for slide in slides):
        drawn["regions"] = region_vectors(bags, slides, settings)
    return drawn


def numbers(values: Sequence[str]) -> NDArray[np.int64]:
    """Values as numbers, in order of the values."""
    return np.unique(np.array(values, str), return_inverse=True)[1].astype(np.int64)


def region_vectors(bags: Bags, slides: Sequence[str], settings: Robustness) -> list[Vectors]:
    """(n, D) drawn region vectors of each slide: all slides have equally many, or all they have."""
    most = -(-settings.regions // len(slides))
    drawn = []
    for slide in slides:
        rng = np.random.default_rng([settings.seed, *slide.encode()])
        rows = rng.permutation(len(bags[slide]))[:most]
        drawn.append(bags[slide][np.sort(rows)])
    return drawn

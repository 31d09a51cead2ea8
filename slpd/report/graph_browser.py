"""Slide graph browser: neighbours and their matched prototypes; whether neighbours share biology or the hospital."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.graph_test import GraphTest
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.artifacts.learned.slide_map import MappedSlide
from slpd.report.cohort_view import CohortView, cohort_data, column_names
from slpd.report.site import Rows
from slpd.report.words import decimal

ALPHA = 0.05  # of the adjusted p-value, for the sentence beside a test; the value itself is printed
# Beginnings of column names; scanners differ in their µm per pixel.
HOSPITAL = ("site", "scanner", "hospital", "centre", "center", "institution", "batch", "slide_mpp")


def graph_data(
    view: CohortView, variant: str, graph: SlideGraphArrays, prototypes: CohortPrototypes, points: Sequence[MappedSlide]
) -> dict[str, Any]:
    """What the page of the graph holds; matched prototypes are loaded slide by slide."""
    where = {point.slide: point for point in points}
    return {
        **cohort_data(view),
        "variant": variant,
        "prototypes": prototypes.prototypes.shape[1],
        "kept": prototypes.kept,
        "neighbours": graph.neighbours,
        "distance": mean_distance(graph, prototypes.prototypes.shape[1]).round(4),
        "x": [where[slide].x for slide in graph.slides],
        "y": [where[slide].y for slide in graph.slides],
    }


def mean_distance(graph: SlideGraphArrays, n_prototypes: int) -> NDArray[np.float32]:
    """The mean cosine distance of matched prototypes, 0 (the same) to 2, (S, K): 1 - similarity / M."""
    return np.asarray(1 - graph.similarity / n_prototypes, np.float32)


def slide_links(graph: SlideGraphArrays, prototypes: CohortPrototypes, slide: int) -> list[list[list[Any]]]:
    """Per neighbour of a slide, per prototype: the corresponding prototype of the neighbour, the cosine of the two."""
    links = []
    for neighbour, targets in zip(graph.neighbours[slide], graph.correspondence[slide], strict=True):
        if neighbour < 0:
            continue
        cosines = row_cosines(prototypes.prototypes[slide], prototypes.prototypes[neighbour][targets])
        links.append([[int(target), round(float(cosine), 4)] for target, cosine in zip(targets, cosines, strict=True)])
    return links


def row_cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row with the same row of the other, (M,); 0 for a row of zeros."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.where(lengths > 0, lengths, 1))


def link_rows(view: CohortView, graph: SlideGraphArrays, prototypes: CohortPrototypes) -> Rows:
    """A table of all links with their matched prototypes and, per column, the values of both slides."""
    names = column_names(view)
    header = ["slide", "rank", "neighbour", "similarity", "mean_cosine_distance", "prototype", "matched", "cosine"]
    yield [*header, *(f"{side}_{name}" for name in names for side in ("slide", "neighbour"))]
    distances = mean_distance(graph, prototypes.prototypes.shape[1])
    for slide, about in enumerate(view.slides):
        for rank, link in enumerate(slide_links(graph, prototypes, slide)):
            other = view.slides[graph.neighbours[slide, rank]]
            values = [side.values.get(name, "") for name in names for side in (about, other)]
            numbers = [round(float(array[slide, rank]), 4) for array in (graph.similarity, distances)]
            for k, (target, cosine) in enumerate(link):
                yield [about.slide, rank + 1, other.slide, *numbers, k + 1, target + 1, cosine, *values]


def in_words(test: GraphTest) -> str:
    """One test in words."""
    if math.isnan(test.ratio) or math.isnan(test.p_adjusted):
        return f"{test.column}: cannot be judged; no two slides of different patients share a value, or all do."
    shares = f"neighbours agree in {test.observed:.0%} of {test.n_pairs} pairs, by chance in {test.expected:.0%}"
    verdict = (
        f"{test.ratio:.1f} times as often as by chance ({p_text(test.p_adjusted)})"
        if test.p_adjusted < ALPHA
        else f"no more often than chance allows ({p_text(test.p_adjusted)})"
    )
    return f"{test.column}: {shares}, {verdict}."


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return f"adjusted p = {p:.3f}" if p >= 0.001 else f"adjusted p = {p:.1g}"


def conclusion(tests: Sequence[GraphTest], classes: Sequence[str]) -> str:
    """Does the graph carry biology or the hospital? What the tests say, and no more.

    Args:
        tests: Of all columns.
        classes: Columns that tasks predict.
    """
    carried = {test.column: test for test in tests if test.p_adjusted < ALPHA and test.ratio > 1}
    biology = [name for name in classes if name in carried]
    hospital = [name for name in carried if name.lower().startswith(HOSPITAL)]
    tested = [test.column for test in tests if test.column.lower().startswith(HOSPITAL)]
    return " ".join([about_biology(biology, classes), about_hospital(hospital, tested, biology), CAUTION])


CAUTION = (
    "A column that goes with another one (a site that sent one class only) is carried with it: read the rows together."
)


def about_biology(carried: Sequence[str], classes: Sequence[str]) -> str:
    """What the tests say of the columns that tasks predict."""
    if carried:
        return f"Neighbours share {listed(carried)} beyond chance: the graph carries what the tasks ask for."
    if classes:
        return f"Nothing shows that neighbours share {listed(classes)} beyond chance."
    return "No task of this experiment gives slides of this cohort a class."


def about_hospital(carried: Sequence[str], tested: Sequence[str], biology: Sequence[str]) -> str:
    """What the tests say of where slides come from."""
    if carried:
        return (
            f"They share {listed(carried)} {'too' if biology else 'instead'}: the graph carries where slides come from;"
            " test on sites that training has not seen."
        )
    if tested:
        return f"Nothing shows that they share {listed(tested)}."
    return "The sheet says neither site nor scanner, so whether the graph carries the hospital is not known."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rows_of_tests(tests: Sequence[GraphTest]) -> list[list[str]]:
    """The tests as cells."""
    return [
        [
            test.column,
            *map(str, (test.n_slides, test.n_values, test.n_pairs)),
            *map(share_text, (test.observed, test.expected)),
            decimal(test.ratio, 2),
            *(decimal(p, 4) for p in (test.p_value, test.p_adjusted)),
        ]
        for test in tests
    ]


def share_text(share: float) -> str:
    """A share in per cent."""
    return "–" if math.isnan(share) else f"{share:.1%}"

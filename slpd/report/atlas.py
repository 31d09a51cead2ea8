"""Prototype atlas: what prototypes look like, their share of the tissue, how they settled, all in one map."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.analysis.kind_agreement import UNKNOWN, kind_agreement
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.prototype_map import MappedPrototype
from slpd.report.cohort_view import CohortView, cohort_data, column_names
from slpd.report.nearest_regions import nearest_regions, prototype_distances
from slpd.report.site import Rows
from slpd.report.stability import Stability, stability

DISTANCE = {"bottleneck": "cosine distance", "region_vector": "Euclidean distance"}


@dataclass(frozen=True)
class Atlas:
    """The prototypes of a variant, as its pages show them."""

    variant: str
    prototypes: CohortPrototypes
    distances: NDArray[np.float32]  # (R,) of each region to its prototype
    nearest: Sequence[Sequence[Sequence[int]]]  # (S, M, up to n): regions within the slide, nearest first
    shares: NDArray[np.float64]  # (S, M) of the slide's regions
    steps: Sequence[str]  # iteration that each of the T columns of `movement` leads to, from the one before
    movement: Stability
    agreement: NDArray[np.float64]  # (S, T + 1) of every grouping with the known kinds; nan where not known


def make_atlas(
    variant: str,
    prototypes: CohortPrototypes,
    embeddings: NDArray[np.float32],
    iterations: NDArray[np.int16],
    n_nearest: int,
    kinds: Sequence[str] = (),
) -> Atlas:
    """Everything that is derived from the arrays of a variant.

    Args:
        variant: Its name.
        prototypes: Its final prototypes.
        embeddings: (R, D) final features that were clustered.
        iterations: (I, R) assignments of each iteration.
        n_nearest: Regions shown per prototype.
        kinds: (R,) known kinds of the regions; none: of no region.
    """
    M = prototypes.prototypes.shape[1]
    distances = prototype_distances(embeddings, prototypes)
    pieces = [slice(start, stop) for start, stop in zip(prototypes.offsets[:-1], prototypes.offsets[1:], strict=True)]
    assignments = prototypes.assignments
    nearest = [nearest_regions(assignments[piece], distances[piece], M, n_nearest) for piece in pieces]
    shares = np.array([tissue_shares(assignments[piece], M) for piece in pieces])
    groupings = np.concatenate([iterations, assignments[None]])
    names = [*(str(number + 1) for number in range(len(iterations))), "final"]
    movement = stability(groupings, prototypes.offsets)
    agreement = kind_agreement(groupings, prototypes.offsets, kinds or [UNKNOWN] * len(assignments))
    return Atlas(variant, prototypes, distances, nearest, shares, names[1:], movement, agreement)


def kinds_of(assignments: NDArray[np.int16], kinds: Sequence[str], n_prototypes: int) -> list[str]:
    """The known kinds of the regions of every prototype of a slide, in words, the most frequent first."""
    counted = [Counter(kind for k, kind in zip(assignments, kinds, strict=True) if k == m) for m in range(n_prototypes)]
    return [", ".join(f"{kind or 'not known'} {n}" for kind, n in of_one.most_common()) for of_one in counted]


def tissue_shares(assignments: NDArray[np.int16], n_prototypes: int) -> NDArray[np.float64]:
    """The share of a slide's regions that each prototype has, (M,); 0 in slides without prototypes."""
    counts = np.bincount(assignments[assignments >= 0], minlength=n_prototypes)
    return np.asarray(counts / max(len(assignments), 1), np.float64)


def atlas_data(view: CohortView, atlas: Atlas, points: Sequence[MappedPrototype]) -> dict[str, Any]:
    """What the page of the atlas holds; the rest is loaded slide by slide."""
    index = {slide: number for number, slide in enumerate(atlas.prototypes.slides)}
    return {
        **cohort_data(view),
        "variant": atlas.variant,
        "prototypes": atlas.prototypes.prototypes.shape[1],
        "distance": DISTANCE[atlas.prototypes.features],
        "kept": atlas.prototypes.kept,
        "map": {
            "slide": [index[point.slide] for point in points],
            "prototype": [point.prototype for point in points],
            "regions": [point.n_regions for point in points],
            "x": [point.x for point in points],
            "y": [point.y for point in points],
        },
        "stability": {
            "steps": atlas.steps,
            **mean_and_middle(atlas.movement.moved),
            "rand": mean_over_slides(atlas.movement.rand_index),
        },
    }


def mean_and_middle(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Mean over slides of (S, T) values, and the ends of the middle 90 % of slides; nan left out."""
    known = values[~np.isnan(values).all(1)]
    low, high = np.quantile(known, [0.05, 0.95], axis=0).round(4) if len(known) else np.zeros((2, 0))
    return {"low": low, "mean": mean_over_slides(values), "high": high}


def mean_over_slides(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over slides of (S, T) values, nan left out."""
    known = values[~np.isnan(values).all(1)]
    return np.asarray(known.mean(0).round(4) if len(known) else np.zeros(0))


def slide_prototypes(view: CohortView, atlas: Atlas, slide: int) -> dict[str, Any]:
    """What is loaded when a slide is chosen."""
    of_slide = slice(atlas.prototypes.offsets[slide], atlas.prototypes.offsets[slide + 1])
    assignments = atlas.prototypes.assignments[of_slide]
    return {
        "assignment": assignments,
        "kinds": kinds_of(assignments, view.kinds[of_slide], atlas.shares.shape[1]) if view.kinds else [],
        "distance": atlas.distances[of_slide].round(4),
        "nearest": atlas.nearest[slide],
        "share": atlas.shares[slide].round(4),
        "moved": atlas.movement.moved[slide].round(4),
        "rand": atlas.movement.rand_index[slide].round(4),
    }


def prototype_rows(view: CohortView, atlas: Atlas, points: Sequence[MappedPrototype]) -> Rows:
    """A table of all prototypes: where they are in the map, their share of tissue, the columns of their slide."""
    names = column_names(view)
    index = {slide: number for number, slide in enumerate(atlas.prototypes.slides)}
    yield ["slide", "prototype", "n_regions", "share", "x", "y", *names]
    for point in points:
        slide = index[point.slide]
        share = round(float(atlas.shares[slide, point.prototype]), 4)
        values = [view.slides[slide].values.get(name, "") for name in names]
        yield [point.slide, point.prototype + 1, point.n_regions, share, point.x, point.y, *values]


def region_rows(view: CohortView, atlas: Atlas) -> Rows:
    """A table of all regions: corner (level-0 px), prototype, distance to it, rank among its regions."""
    yield ["slide", "region", "x_lv0", "y_lv0", "prototype", "distance", *(["kind"] if view.kinds else [])]
    for slide, about in enumerate(view.slides):
        start, stop = view.offsets[slide], view.offsets[slide + 1]
        for region in range(start, stop):
            prototype = int(atlas.prototypes.assignments[region])
            distance = "" if prototype < 0 else round(float(atlas.distances[region]), 4)
            x, y = view.coords[region].tolist()
            kind = [view.kinds[region]] if view.kinds else []
            yield [about.slide, int(region - start), x, y, prototype + 1 if prototype >= 0 else "", distance, *kind]


def agreement_rows(atlas: Atlas) -> Rows:
    """A table of how every slide's prototypes agree with the known kinds, in every iteration."""
    yield ["slide", "iteration", "adjusted_mutual_information"]
    for slide, values in zip(atlas.prototypes.slides, atlas.agreement.tolist(), strict=True):
        for step, value in zip(["1", *atlas.steps], values, strict=True):
            yield [slide, step, round(value, 4)]


def stability_rows(atlas: Atlas) -> Rows:
    """A table of the movement of every slide between successive iterations."""
    yield ["slide", "iteration", "moved_share", "adjusted_rand_index"]
    for slide in np.flatnonzero(atlas.prototypes.kept):
        moved, rand = atlas.movement.moved[slide].tolist(), atlas.movement.rand_index[slide].tolist()
        for step, share, index in zip(atlas.steps, moved, rand, strict=True):
            yield [atlas.prototypes.slides[slide], step, round(share, 4), round(index, 4)]

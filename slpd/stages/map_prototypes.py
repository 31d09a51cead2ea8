"""Map the prototypes of all slides, and the slides themselves, into planes."""

import argparse
import logging
from pathlib import Path

import numpy as np

from slpd.analysis.plane import neighbourhood_plane
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes, read_prototypes
from slpd.artifacts.learned.embeddings import open_embeddings
from slpd.artifacts.learned.prototype_map import MappedPrototype, write_prototype_map
from slpd.artifacts.learned.slide_map import MappedSlide, write_slide_map

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `map_prototypes`."""
    parser.add_argument("--prototypes", type=Path, required=True, help="prototypes of the cohort (.npz)")
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings they were made of (.h5)")
    parser.add_argument("--perplexity", type=float, required=True, help="about how many neighbours a point keeps")
    parser.add_argument("--seed", type=int, required=True, help="seed of the maps")
    parser.add_argument("--prototype-map", type=Path, required=True, help="map of the prototypes to write (CSV)")
    parser.add_argument("--slide-map", type=Path, required=True, help="map of the slides to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Make both maps."""
    prototypes = map_prototypes(read_prototypes(args.prototypes), args.perplexity, args.seed)
    slides = map_slides(args.embeddings, args.perplexity, args.seed)
    logger.info("%d prototypes and %d slides mapped", len(prototypes), len(slides))
    write_prototype_map(args.prototype_map, prototypes)
    write_slide_map(args.slide_map, slides)


def map_prototypes(content: CohortPrototypes, perplexity: float, seed: int) -> list[MappedPrototype]:
    """Every prototype of the slides that have prototypes, by direction, as the slide graph compares them."""
    M = content.prototypes.shape[1]
    kept = np.flatnonzero(content.kept)
    if not len(kept):
        return []
    points = content.prototypes[kept].reshape(len(kept) * M, -1).astype(np.float64)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    places = neighbourhood_plane(points, perplexity, seed).reshape(len(kept), M, 2)
    mapped = []
    for slide, of_slide in zip(kept.tolist(), places.tolist(), strict=True):
        assigned = content.assignments[content.offsets[slide] : content.offsets[slide + 1]]
        counts = np.bincount(assigned, minlength=M).tolist()
        mapped += [MappedPrototype(content.slides[slide], m, counts[m], *of_slide[m]) for m in range(M)]
    return mapped


def map_slides(embeddings: Path, perplexity: float, seed: int) -> list[MappedSlide]:
    """Every slide by the mean of its region vectors."""
    with open_embeddings(embeddings) as content:
        bounds = zip(content.offsets[:-1], content.offsets[1:], strict=True)
        means = np.stack([content.region_vector[start:stop].mean(axis=0, dtype=np.float64) for start, stop in bounds])
    places = neighbourhood_plane(means, perplexity, seed).tolist()
    return [MappedSlide(slide, *place) for slide, place in zip(content.slides, places, strict=True)]

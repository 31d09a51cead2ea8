"""Find the prototypes of every slide: k-means of its region embeddings."""

import argparse
import logging
from pathlib import Path

import numpy as np

from slpd.artifacts.embeddings import CohortEmbeddings, read_embeddings
from slpd.artifacts.prototypes import CohortPrototypes, write_prototypes
from slpd.errors import UserError
from slpd.method.prototypes import cluster_slide
from slpd.settings.training import Prototypes

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `cluster_regions`."""
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings (.h5)")
    parser.add_argument("--settings", required=True, help="section prototypes of the config, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="prototypes to write (.npz)")


def run(args: argparse.Namespace) -> None:
    """Cluster every slide that has enough regions."""
    settings = Prototypes.from_json(args.settings)
    content = cluster_cohort(read_embeddings(args.embeddings), settings)
    n_kept, n_slides = int(content.kept.sum()), len(content.slides)
    logger.info(
        "%d prototypes for each of %d slides; %d slides of fewer than %d regions have none and train with L_self alone",
        settings.n_prototypes,
        n_kept,
        n_slides - n_kept,
        settings.min_regions,
    )
    write_prototypes(args.out, content)


def cluster_cohort(cohort: CohortEmbeddings, settings: Prototypes) -> CohortPrototypes:
    """The prototypes of every slide of a cohort.

    Raises:
        UserError: no slide has enough regions.
    """
    counts = np.diff(cohort.offsets)
    kept = counts >= settings.min_regions
    if not kept.any():
        largest = int(counts.argmax())
        raise UserError(
            f"prototypes.min_regions is {settings.min_regions}, but the largest slide, {cohort.slides[largest]}, has"
            f" {counts[largest]} regions; lower min_regions (and n_prototypes, at most that), or add larger slides"
        )
    embeddings = cohort.bottleneck if settings.features == "bottleneck" else cohort.region_vector  # (R, D)
    prototypes = np.zeros((len(kept), settings.n_prototypes, embeddings.shape[1]), np.float32)
    assignments = np.full(len(embeddings), -1, np.int16)
    for slide in np.flatnonzero(kept):
        regions = slice(cohort.offsets[slide], cohort.offsets[slide + 1])
        prototypes[slide], assignments[regions] = cluster_slide(embeddings[regions], settings)
    return CohortPrototypes(prototypes, settings.features, kept, assignments, cohort.offsets, cohort.slides)

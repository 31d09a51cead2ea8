"""Find the prototypes of every slide: k-means of its region embeddings."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.learned.cohort_prototypes import write_prototypes
from slpd.artifacts.learned.embeddings import kept_prototypes, open_embeddings
from slpd.artifacts.learned.training_folder import hand_out
from slpd.method.global_prototypes import find_prototypes
from slpd.settings.training import Prototypes

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `cluster_regions`."""
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings (.h5)")
    parser.add_argument("--settings", required=True, help="section prototypes of the config, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="prototypes to write (.npz)")


def run(args: argparse.Namespace) -> None:
    """Cluster every slide that has enough regions; for an iteration that is over, hand out its prototypes."""
    kept = kept_prototypes(args.embeddings)
    if kept is not None:
        logger.info("training has passed this iteration; these are its prototypes")
        hand_out(kept, args.out)
        return
    settings = Prototypes.from_json(args.settings)
    with open_embeddings(args.embeddings) as embeddings:
        content = find_prototypes(embeddings, settings)
    n_kept, n_slides = int(content.kept.sum()), len(content.slides)
    if settings.level == "cohort":
        logger.info("%d prototypes for all %d slides together", settings.n_prototypes, n_slides)
    else:
        logger.info(
            "%d prototypes for each of %d slides; %d slides of fewer than %d regions have none and train with L_self"
            " alone",
            settings.n_prototypes,
            n_kept,
            n_slides - n_kept,
            settings.min_regions,
        )
    write_prototypes(args.out, content)

"""Find every slide's most similar slides and the prototype correspondence."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.learned.cohort_prototypes import read_prototypes
from slpd.artifacts.learned.slide_graph_file import write_slide_graph
from slpd.method.slide_graph import link_cohort
from slpd.settings.training import SlideGraph

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `link_slides`."""
    parser.add_argument("--prototypes", type=Path, required=True, help="prototypes of the cohort (.npz)")
    parser.add_argument("--settings", required=True, help="section slide_graph of the config, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="slide graph to write (.npz)")


def run(args: argparse.Namespace) -> None:
    """Link every slide that has prototypes to its nearest such slides."""
    settings = SlideGraph.from_json(args.settings)
    content = read_prototypes(args.prototypes)
    graph = link_cohort(content, settings)
    n_kept = int(content.kept.sum())
    logger.info("%d slides linked to %d others each", n_kept, min(settings.n_neighbours, n_kept - 1))
    write_slide_graph(args.out, graph)

"""Embed every region with a variant's encoder, its last teacher or a given one: one bag of vectors per slide."""

import argparse
import logging
from pathlib import Path

import numpy as np

from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens, read_cohort_coords
from slpd.models.encoder_files import read_encoder
from slpd.settings.training import RegionEncoder
from slpd.training.devices import training_device
from slpd.training.embed import embed_regions, refuse_infinite_vectors
from slpd.training.token_store import open_token_store

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `embed_bags`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument(
        "--teacher", type=Path, required=True, help="weights of the region encoder: of ours (.safetensors) or released"
    )
    # `?`: the rule writes both options also where the encoder was trained here
    parser.add_argument(
        "--encoder", nargs="?", help="section region_encoder of the config, as JSON, for weights that do not state it"
    )
    parser.add_argument("--sha256", nargs="?", help="SHA-256 the weights must have")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Embed the full token grid of every region."""
    cohort = open_cohort_tokens(args.manifest)
    sha256, section = args.sha256, RegionEncoder.from_json(args.encoder) if args.encoder else None
    encoder = read_encoder(args.teacher, cohort, sha256, section)
    with training_device() as device:
        regions = np.arange(cohort.n_regions)
        tokens = open_token_store(cohort, regions, device, "disk", reserve=0)  # each is read once
        vectors = embed_regions(encoder.to(device), encoder.width, tokens, regions, cohort, cohort.grid)
    refuse_infinite_vectors(vectors, cohort)
    bags = dict(zip(cohort.slides, np.split(vectors, cohort.offsets[1:-1]), strict=True))
    coords = read_cohort_coords(args.manifest)
    logger.info("%d regions of %d slides embedded, %d values each", *vectors.shape[:1], len(bags), vectors.shape[1])
    write_bags(args.out, bags, coords)

"""Embed every region with the final teacher: one bag of region vectors per slide."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from slpd.artifacts.bags import write_bags
from slpd.artifacts.cohort_tokens import CohortTokens, read_cohort_tokens
from slpd.artifacts.manifest import used_slides
from slpd.artifacts.region_encoder import RegionEncoderCard, read_region_encoder
from slpd.artifacts.tokens import read_coords
from slpd.errors import UserError
from slpd.models.network import build_region_encoder
from slpd.training.devices import training_device
from slpd.training.embed import embed_regions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `embed_bags`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--teacher", type=Path, required=True, help="weights of the region encoder (.safetensors)")
    parser.add_argument("--out", type=Path, required=True, help="bags to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Embed the full token grid of every region."""
    weights, card = read_region_encoder(args.teacher)
    cohort = read_cohort_tokens(args.manifest)
    refuse_other_tokens(args.teacher, card, cohort)
    encoder = build_region_encoder(card.region_encoder, card.token_width)
    encoder.load_state_dict(weights)
    with training_device() as device:
        tokens = torch.from_numpy(cohort.features).to(device)
        vectors = embed_regions(encoder.to(device), tokens, crop=card.grid)
    bags = dict(zip(cohort.slides, np.split(vectors, cohort.offsets[1:-1]), strict=True))
    coords = {row.record.slide: read_coords(row.tokens) for row in used_slides(args.manifest) if row.tokens}
    logger.info("%d regions of %d slides embedded, %d values each", *vectors.shape[:1], len(bags), vectors.shape[1])
    write_bags(args.out, bags, coords)


def refuse_other_tokens(path: Path, card: RegionEncoderCard, cohort: CohortTokens) -> None:
    """Refuse tokens of another shape than the encoder was trained on."""
    _, grid, _, width = cohort.features.shape
    if (grid, width) != (card.grid, card.token_width):
        raise UserError(
            f"{path}: trained on {card.grid} x {card.grid} patches of width {card.token_width}, the manifest's tokens"
            f" are {grid} x {grid} of width {width}; give the encoder that was trained on these tokens"
        )

"""Write the region encoder with random weights: the baseline that tells what training adds."""

import argparse
from pathlib import Path

import torch

from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.models.encoder_files import write_encoder
from slpd.models.network import build_region_encoder
from slpd.settings.training import RegionEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `draw_encoder`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--encoder", required=True, help="section region_encoder of the config, as JSON")
    parser.add_argument("--seed", type=int, required=True, help="seed of the weights")
    parser.add_argument("--out", type=Path, required=True, help="weights to write (.safetensors)")


def run(args: argparse.Namespace) -> None:
    """Draw the weights as training draws those that it begins with."""
    cohort, section = open_cohort_tokens(args.manifest), RegionEncoder.from_json(args.encoder)
    encoder = build_region_encoder(section, cohort.width)
    encoder.draw_weights(torch.Generator().manual_seed(args.seed))
    write_encoder(args.out, encoder, section, cohort)

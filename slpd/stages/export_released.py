"""Write a trained region encoder in the form of HIPT's released `vit4k_xs_dino.pth`, for HIPT's own scripts.

They take the entry `teacher`, cut `module.` and `backbone.` off the names, and load what fits by name.
"""

import argparse
import logging
from pathlib import Path

import torch

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.learned.encoder_file import read_region_encoder

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `export_released`."""
    parser.add_argument("--encoder", type=Path, required=True, help="region encoder, as trained (.safetensors)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write (.pth)")


def run(args: argparse.Namespace) -> None:
    """Write the weights under the released names."""
    weights, card = read_region_encoder(args.encoder)
    teacher = {f"backbone.{name}": torch.from_numpy(values) for name, values in weights.items()}
    with atomic_path(args.out) as temporary, open(temporary, "wb") as file:
        torch.save({"teacher": teacher}, file)  # to a file object: given a path, torch stores its name
    logger.info("build the ViT that reads it with %s on tokens of width %d", card.region_encoder, card.token_width)

"""Build the patch encoder without values, and compare its weights by hash, names and shapes, before slides are read."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.outside.encoder_weights import read_encoder_weights
from slpd.models.patch_encoder import build_model, refuse_other_weights, token_width
from slpd.settings.slides import PatchEncoderSettings as Settings

log = logging.getLogger(__name__)

META = "meta"  # torch's device of tensors that have shapes and no values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--settings", required=True, help="config section `patch_encoder` as JSON")


def run(args: argparse.Namespace) -> None:
    """Check the encoder; log what it is.

    Raises:
        UserError: timm does not know the model or an argument, patches do not fit it, or the weights do not.
    """
    settings = Settings.from_json(args.settings)
    model = build_model(settings, META)
    weights = f"random, of seed {settings.seed}"
    if settings.checkpoint is not None:
        key = "patch_encoder.checkpoint"
        refuse_other_weights(model, read_encoder_weights(Path(settings.checkpoint), settings.sha256, key, True))
        weights = f"{settings.checkpoint}, which fit"
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    width = token_width(model, settings, META)
    log.info(
        "%s: %s parameters, tokens of %d values from patches of %d px; weights: %s",
        *(settings.model, f"{n_parameters:,}", width, settings.patch_px, weights),
    )

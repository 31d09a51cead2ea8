"""Write a trained region encoder for use outside its experiment, laid out as the Hugging Face hub expects models."""

import argparse
import hashlib
from pathlib import Path

from slpd.artifacts.learned.encoder_file import read_region_encoder, write_region_encoder
from slpd.artifacts.learned.model_card import ModelCard, TrainingData, write_hub_config, write_model_card
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens, open_cohort_tokens
from slpd.artifacts.patch_tokens.token_kind import read_token_kind
from slpd.artifacts.slides.manifest import read_manifest
from slpd.settings.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `export_encoder`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--teacher", type=Path, required=True, help="the last teacher's weights (.safetensors)")
    parser.add_argument("--recipe", required=True, help="the settings that shaped it, as JSON")
    parser.add_argument("--licence", required=True, help="licence that the card states, as the hub names it")
    parser.add_argument("--weights", type=Path, required=True, help="weights to write (.safetensors)")
    parser.add_argument("--card", type=Path, required=True, help="model card to write (.md)")
    parser.add_argument("--config", type=Path, required=True, help="how to build the encoder, to write (.json)")


def run(args: argparse.Namespace) -> None:
    """Write all three; equal inputs give equal bytes."""
    weights, encoder = read_region_encoder(args.teacher)
    write_region_encoder(args.weights, weights, encoder)
    cohort = open_cohort_tokens(args.manifest)
    card = ModelCard(
        recipe=Recipe.from_json(args.recipe),
        encoder=encoder,
        tokens=read_token_kind(cohort.paths[0]),
        data=training_data(cohort, len(read_manifest(args.manifest))),
        file=args.weights.name,
        sha256=hashlib.sha256(args.weights.read_bytes()).hexdigest(),
        n_parameters=sum(tensor.size for tensor in weights.values()),
        licence=args.licence,
    )
    write_model_card(args.card, card)
    write_hub_config(args.config, card)


def training_data(cohort: CohortTokens, n_given: int) -> TrainingData:
    """The slides used, of `n_given` in the sheet, and a digest of their tokens that identifies the same data."""
    lines = [f"{slide} {tokens}\n" for slide, tokens in zip(cohort.slides, cohort.fingerprints, strict=True)]
    return TrainingData(
        n_used=len(cohort.slides),
        n_given=n_given,
        n_regions=cohort.n_regions,
        digest=hashlib.sha256("".join(lines).encode()).hexdigest(),
    )

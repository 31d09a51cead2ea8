"""A region encoder as a model repository of the Hugging Face hub: what stands beside its weights.

README.md: model card, what it is, what made it, how to load it. Its front matter is the hub's metadata.
config.json: how to build the encoder and what it reads, for programs.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from slpd.artifacts.atomic import write_text
from slpd.artifacts.learned.encoder_file import RegionEncoderCard
from slpd.artifacts.patch_tokens.token_kind import TokenKind
from slpd.settings.recipe import Recipe
from slpd.settings.slides import RANDOM
from slpd.settings.training import SELF, Objective

# Left out of the settings: what the card's heading says, and what says where and how fast.
ELSEWHERE: dict[str, bool | set[str]] = {
    "experiment": True,
    "cohort": True,
    "variant": True,
    "patch_encoder": {"checkpoint"},
}

TEMPLATE = """\
---
{metadata}---

# Region encoder `{recipe.variant}` of cohort `{recipe.cohort}`

A region encoder of the design of HIPT's ViT_4096-256, trained without labels by {method}
(experiment `{recipe.experiment}`).
It turns the {encoder.grid} × {encoder.grid} patch tokens of a region into one vector of {architecture.width} values.
A region is {recipe.regions.region_px} px wide at {recipe.regions.mpp:g} µm/px,
a patch {recipe.patch_encoder.patch_px} px. Tokens have {encoder.token_width} values and come from {tokens}.

Weights: `{file}`, {n_parameters:,} parameters, SHA-256 `{sha256}`.

Architecture: width {architecture.width}, depth {architecture.depth}, heads {architecture.heads}, position table
{architecture.position_grid} × {architecture.position_grid}.

## Load it

```python
from pathlib import Path

import torch

from slpd.artifacts.learned.encoder_file import read_region_encoder
from slpd.models.network import build_region_encoder

weights, card = read_region_encoder(Path("{file}"))
encoder = build_region_encoder(card.region_encoder, card.token_width)
encoder.load_state_dict({{name: torch.from_numpy(values) for name, values in weights.items()}})

tokens = torch.zeros(1, card.grid, card.grid, card.token_width)  # of one region, row by row
vectors = encoder(tokens)  # (1, {architecture.width})
```

As a variant of another experiment, on tokens of the same patch encoder and geometry:

```yaml
- name: {recipe.variant}_of_{recipe.cohort}
  pretrained:
    checkpoint: {file}
    sha256: {sha256}
```

For HIPT's scripts: `python -m slpd export_released --encoder {file} --out vit4k.pth`.

## Data

{data.n_used} of the {data.n_given} slides of the cohort, {data.n_regions:,} regions; its sheet has their patients.
SHA-256 over the lines `<slide> <fingerprint of its token file>`, in order of slide id:
`{data.digest}`.

## Settings

```yaml
{settings}```

## Versions at training

{versions}.

## Use and limits

Meant for research: its region vectors are the input of heads that are trained and tested on labelled slides. It saw
all used slides of its cohort, later test slides too, though never a label; on other organs, stains, scanners and
resolutions it is untested, and it is no medical device.

## Licence

Stated: `{licence}`. What may be done with these weights depends on the terms of the slides and on the licence of the
patch encoder. HIPT's weights come under Apache 2.0 with Commons Clause (its LICENSE), for non-commercial academic
purposes (its README).
"""


@dataclass(frozen=True)
class TrainingData:
    """The slides that an encoder was trained on."""

    n_used: int  # slides
    n_given: int
    n_regions: int
    digest: str  # SHA-256 over slide ids and fingerprints of token files


@dataclass(frozen=True)
class ModelCard:
    """What is to be said of a region encoder."""

    recipe: Recipe
    encoder: RegionEncoderCard
    tokens: TokenKind  # that it was trained on, as their files state it
    data: TrainingData
    file: str  # name of the weights file beside the card
    sha256: str  # of that file
    n_parameters: int
    licence: str  # as the hub names it; "other": that of slides and patch encoder decides

    @property
    def elsewhere(self) -> bool:
        """Whether the tokens were made by another patch encoder than the config's, as imported ones may be."""
        asked = self.recipe.patch_encoder
        return (self.tokens.encoder, self.tokens.encoder_sha256) != (asked.model, asked.weights)


def write_model_card(path: Path, card: ModelCard) -> None:
    """Write the card."""
    settings = card.recipe.model_dump(mode="json", exclude=ELSEWHERE, exclude_none=True)
    settings["patch_encoder"] = known_of_patch_encoder(card, settings["patch_encoder"])
    text = TEMPLATE.format(
        **vars(card) | {"tokens": describe_tokens(card.tokens)},
        metadata=yaml.safe_dump(hub_metadata(card.licence), sort_keys=False),
        architecture=card.encoder.region_encoder,
        method=describe_objective(card.recipe.objective),
        settings=yaml.safe_dump(settings, sort_keys=False),
        versions=", ".join(f"{name} {version}" for name, version in card.encoder.versions.items()),
    )
    write_text(path, text)


def hub_metadata(licence: str) -> dict[str, object]:
    """The front matter of the card: a licence that the hub does not know has a name and a place to read about it."""
    unnamed = {"license_name": "terms-of-slides-and-patch-encoder", "license_link": "README.md#licence"}
    return {
        "license": licence,
        **(unnamed if licence == "other" else {}),
        "library_name": "slpd",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["histopathology", "whole-slide-images", "self-supervised-learning", "research-use-only"],
    }


def write_hub_config(path: Path, card: ModelCard) -> None:
    """Write what a program needs to build the encoder and to feed it."""
    regions = card.recipe.regions
    content = {
        "model_type": "slpd_region_encoder",
        **card.encoder.model_dump(exclude={"versions"}),
        "region_px": regions.region_px,
        "mpp": regions.mpp,
        "patch_encoder": known_of_patch_encoder(
            card, card.recipe.patch_encoder.model_dump(mode="json", exclude={"checkpoint"})
        ),
        "weights": {"file": card.file, "sha256": card.sha256},
    }
    write_text(path, json.dumps(content, indent=2) + "\n")


def known_of_patch_encoder(card: ModelCard, by_config: dict[str, object]) -> dict[str, object]:
    """How the patch encoder was built; where it is not the config's, what token files state of it."""
    if not card.elsewhere:
        return by_config
    tokens = card.tokens
    return {"model": tokens.encoder, "sha256": tokens.encoder_sha256, "patch_px": card.recipe.patch_encoder.patch_px}


def describe_tokens(tokens: TokenKind) -> str:
    """The patch encoder and its weights, as token files state them."""
    if not tokens.encoder:
        return "elsewhere: their files do not name the patch encoder"
    if not tokens.encoder_sha256:
        return f"elsewhere: their files name the patch encoder `{tokens.encoder}` and no weights"
    seed = tokens.encoder_sha256.removeprefix(RANDOM)
    drawn = seed != tokens.encoder_sha256
    weights = f"random weights of seed {seed}" if drawn else f"weights of SHA-256 `{tokens.encoder_sha256}`"
    return f"the timm model `{tokens.encoder}` with {weights}"


def describe_objective(objective: Objective) -> str:
    """The method, and the loss in symbols."""
    method = "SLPD (Yu, Lin, Xu, MICCAI 2023)" if objective.needs_prototypes else "DINO (Caron et al., ICCV 2021)"
    weighted = [f"{objective.weight(term):g} {term.symbol}" for term in objective.terms if term is not SELF]
    return f"{method}, L = {' + '.join([SELF.symbol, *weighted])}"

"""Region encoders and their files: read ready for a cohort's tokens, written with what they are."""

from pathlib import Path

from slpd.artifacts.learned.encoder_file import RegionEncoderCard, read_card, write_region_encoder
from slpd.artifacts.outside.encoder_weights import read_encoder_weights
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.errors import UserError
from slpd.models.network import build_region_encoder
from slpd.models.region_encoder import RegionViT
from slpd.models.weights import load_exactly, without_head
from slpd.settings.training import RegionEncoder
from slpd.versions import training_versions


def read_encoder(
    path: Path, cohort: CohortTokens, sha256: str | None = None, section: RegionEncoder | None = None
) -> RegionViT:
    """The encoder with its weights.

    Args:
        path: The weights.
        cohort: Tokens it is to read.
        sha256: Hash that weights from elsewhere must have.
        section: Its architecture, if the weights do not state it.
    """
    weights = read_encoder_weights(path, sha256, "pretrained.checkpoint" if sha256 else "--teacher")
    card = read_card(path)
    if card is not None:
        refuse_other_tokens(path, card, cohort)
        section = card.region_encoder
    if section is None:
        raise UserError(f"{path}: does not state its architecture; give --encoder")
    encoder = build_region_encoder(section, cohort.width)
    load_exactly(
        encoder,
        without_head(encoder, weights),
        f"{path} does not fit region_encoder on patch tokens of width {cohort.width}",
    )
    return encoder


def refuse_other_tokens(path: Path, card: RegionEncoderCard, cohort: CohortTokens) -> None:
    """Refuse tokens of another shape than the encoder was trained on."""
    if (cohort.grid, cohort.width) != (card.grid, card.token_width):
        raise UserError(
            f"{path}: trained on {card.grid} x {card.grid} patches of width {card.token_width}, the manifest's tokens"
            f" are {cohort.grid} x {cohort.grid} of width {cohort.width};"
            " give the encoder that was trained on these tokens"
        )


def write_encoder(path: Path, encoder: RegionViT, section: RegionEncoder, cohort: CohortTokens) -> None:
    """Write an encoder as it is, with its architecture and the shape of the tokens that it reads."""
    card = RegionEncoderCard(
        region_encoder=section, token_width=cohort.width, grid=cohort.grid, versions=training_versions()
    )
    write_region_encoder(path, {name: tensor.cpu().numpy() for name, tensor in encoder.state_dict().items()}, card)

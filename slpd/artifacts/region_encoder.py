"""Weights of a trained region encoder (`teacher.safetensors`): the teacher's backbone, without its head.

Tensors have the names of RegionViT, which are those of HIPT's `vit4k`. The metadata entry `slpd` is JSON
of RegionEncoderCard: all that is needed to build the encoder and to feed it.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slpd.artifacts.atomic import atomic_path
from slpd.errors import UserError
from slpd.settings.training import RegionEncoder


class RegionEncoderCard(BaseModel):
    """What the weights are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region_encoder: RegionEncoder
    token_width: int  # length of a patch token
    grid: int  # side of a region, patches


def write_region_encoder(path: Path, weights: Mapping[str, Tensor], card: RegionEncoderCard) -> None:
    """Write the weights; one metadata entry, since several would be stored in no fixed order."""
    with atomic_path(path) as temporary:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(tensors, temporary, {"slpd": card.model_dump_json()})


def read_region_encoder(path: Path) -> tuple[dict[str, Tensor], RegionEncoderCard]:
    """The weights on the CPU, and what they are.

    Raises:
        UserError: the file is missing, damaged, or not written by this pipeline.
    """
    try:
        with safe_open(path, "pt") as file:
            card = (file.metadata() or {}).get("slpd")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (OSError, SafetensorError) as error:
        raise UserError(f"region encoder {path}: cannot be read ({error}); run its training stage again") from error
    if card is None:
        raise UserError(f"region encoder {path}: no slpd entry in its metadata; give a file that training wrote")
    return weights, RegionEncoderCard.model_validate_json(card)

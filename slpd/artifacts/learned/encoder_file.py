"""Weights of a trained region encoder (`teacher.safetensors`): the teacher's backbone, without its head.

Tensors have the names of RegionViT, which are those of HIPT's `vit4k`. The metadata entry `slpd` is JSON
of RegionEncoderCard: all that is needed to build the encoder and to feed it, and what trained it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.disk import raise_if_away
from slpd.errors import UserError
from slpd.settings.training import RegionEncoder

CARD = "slpd"


class RegionEncoderCard(BaseModel):
    """What the weights are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region_encoder: RegionEncoder
    token_width: int  # length of a patch token
    grid: int  # side of a region, patches
    versions: dict[str, str]  # package -> its version when the weights were trained


def write_region_encoder(path: Path, weights: Mapping[str, NDArray[np.float32]], card: RegionEncoderCard) -> None:
    """Write the weights; one metadata entry, since several would be stored in no fixed order."""
    with atomic_path(path) as temporary:
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}
        temporary.write_bytes(save(tensors, {CARD: card.model_dump_json()}))  # save_file's are for their owner alone


def read_region_encoder(path: Path) -> tuple[dict[str, NDArray[np.float32]], RegionEncoderCard]:
    """The weights, and what they are.

    Raises:
        UserError: the file is missing, damaged, or not written by this pipeline.
    """
    card = read_card(path)
    if card is None:
        raise UserError(f"region encoder {path}: no slpd entry in its metadata; give a file that training wrote")
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118  # not a dict


def read_card(path: Path) -> RegionEncoderCard | None:
    """What the weights in a file are; None: another program wrote it.

    Raises:
        UserError: the file is missing or damaged, or written by another version of this package.
    """
    try:
        if not is_safetensors(path):
            return None
        with safe_open(path, "np") as file:
            card = (file.metadata() or {}).get(CARD)
        return None if card is None else RegionEncoderCard.model_validate_json(card)
    except (OSError, SafetensorError) as error:
        raise_if_away(path, error)
        raise UserError(f"region encoder {path}: cannot be read ({error}); run its training stage again") from error
    except ValidationError as error:
        raise UserError(
            f"region encoder {path}: its slpd entry is of another version of slpd; run its training stage again"
        ) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header, 8 bytes, and its brace."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"

"""Trained heads of an evaluation (`heads.safetensors`): what a head has learnt in every fold, in one file.

Tensors: `<fold>/<name>`, with the names of the head's network, or of a regression's parameters. The metadata entry
`slpd` is JSON of HeadCard: all that is needed to apply the heads to another slide, and to see whether they fit it.
Heads that keep nothing (k nearest neighbours), and evaluations without figures, leave a file without tensors.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.disk import raise_if_away
from slpd.artifacts.patch_tokens.token_kind import TokenKind
from slpd.errors import UserError
from slpd.settings.evaluation import Task
from slpd.settings.heads import AnyHead, HeadPreset
from slpd.settings.recipe import VectorRecipe

CARD = "slpd"


class HeadCard(BaseModel):
    """What the heads are, and what they read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["research use only"] = "research use only"
    task: Task  # its classes, in the order of the outputs
    head: AnyHead
    preset: HeadPreset | None  # how it was trained; None: not in steps
    n_folds: int
    recipe: VectorRecipe  # how slides became region vectors
    encoder: str  # path of the region encoder's weights, from the folder of the run; empty: there is none
    encoder_sha256: str  # of that file; empty: there is none
    tokens: TokenKind  # that the encoder read
    versions: dict[str, str]  # package -> its version when the heads were trained


def write_trained_heads(path: Path, folds: Sequence[Mapping[str, NDArray[Any]]], card: HeadCard) -> None:
    """Write the parameters of every fold; one metadata entry, since several would be stored in no fixed order."""
    tensors = {
        f"{number}/{name}": np.ascontiguousarray(values)
        for number, fold in enumerate(folds)
        for name, values in fold.items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, {CARD: card.model_dump_json()}))  # save_file's are for their owner alone


def read_trained_heads(path: Path) -> tuple[list[dict[str, NDArray[Any]]], HeadCard]:
    """The parameters of every fold, and what the heads are.

    Raises:
        UserError: the file is missing, damaged, of another program, or its heads kept nothing.
    """
    try:
        with safe_open(path, "np") as file:
            card = HeadCard.model_validate_json((file.metadata() or {}).get(CARD, ""))
            folds: list[dict[str, NDArray[Any]]] = [{} for _ in range(card.n_folds)]
            for key in file.keys():  # noqa: SIM118  # not a dict
                number, name = key.split("/")
                folds[int(number)][name] = file.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise_if_away(path, error)
        raise UserError(f"heads {path}: cannot be read ({error}); run evaluate again, or correct the path") from error
    except ValidationError as error:
        raise UserError(
            f"heads {path}: no slpd entry of this version of slpd in its metadata; give a file that evaluate wrote"
        ) from error
    if not all(folds):
        raise UserError(
            f"heads {path}: head {card.head.name} of kind {card.head.kind} has kept nothing to predict with (k nearest"
            " neighbours keep nothing, nor does an evaluation without figures); choose another head"
        )
    return folds, card


def refuse_other_encoder(path: Path, card: HeadCard, encoder: Path | None) -> None:
    """Refuse region vectors of another encoder than the one whose vectors the heads have learnt from.

    Args:
        path: The heads.
        card: Theirs.
        encoder: Weights of the region encoder at hand; None: there is none.
    """
    given = hashlib.sha256(encoder.read_bytes()).hexdigest() if encoder else ""
    if given != card.encoder_sha256:
        raise UserError(
            f"heads {path}: trained on vectors of the region encoder of SHA-256 {card.encoder_sha256 or '(none)'}"
            f" ({card.encoder or card.recipe.source}), but {encoder or 'no encoder'} has {given or '(none)'}; give that"
            " encoder, or run evaluate again"
        )

"""Weights of a patch encoder, as their authors released them: safetensors, a state dict, or DINO's checkpoint."""

import argparse
import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from slpd.errors import UserError

HEAD = "head."  # projection head of DINO, classifier of timm: the encoder ends before it


def read_encoder_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Tensors by their names in the encoder, on the CPU. Runs no code from the file.

    Of a checkpoint of DINO (HIPT's `vit256_small_dino.pth`) the entry `teacher` is taken; the prefixes
    `module.` and `backbone.` and the head are left out.

    Raises:
        UserError: the file is missing, has another SHA-256, or holds no state dict.
    """
    refuse_other_file(path, sha256)
    try:
        content: object = load_file(path) if path.suffix == ".safetensors" else load_pickle(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"patch_encoder.checkpoint {path}: cannot be read as weights ({reason})") from error
    tensors = content.get("teacher", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"patch_encoder.checkpoint {path}: no state dict in it, plain or under the key `teacher`")
    named = {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(HEAD)}


def refuse_other_file(path: Path, sha256: str) -> None:
    """Refuse a weights file that is absent or another than the config names."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"patch_encoder.checkpoint {path}: {error.strerror}; put the weights there") from error
    if found != sha256:
        raise UserError(
            f"patch_encoder.checkpoint {path}: its SHA-256 is {found}, expected {sha256}; get the right file or"
            " correct patch_encoder.sha256"
        )


def load_pickle(path: Path) -> object:
    """The content of a file written by torch.save: tensors, plain containers and a command line's Namespace."""
    with torch.serialization.safe_globals([argparse.Namespace]):  # DINO stores its arguments; they only hold values
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content

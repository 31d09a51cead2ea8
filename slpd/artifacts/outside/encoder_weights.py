"""Weights of an encoder of patches or regions, as released: safetensors, a state dict, or DINO's checkpoint."""

import argparse
import hashlib
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from slpd.artifacts.learned.encoder_file import is_safetensors
from slpd.errors import UserError


def read_encoder_weights(path: Path, sha256: str | None, source: str, shapes_alone: bool = False) -> dict[str, Tensor]:
    """Tensors by their names in the encoder, on the CPU. Runs no code from the file.

    Of a checkpoint of DINO (HIPT's `vit256_small_dino.pth` and `vit4k_xs_dino.pth`, SLPD's `checkpoint.pth`) the
    entry `teacher` is taken; the prefixes `module.` and `backbone.` are left out.

    Args:
        path: The file.
        sha256: The SHA-256 it must have; None: any.
        source: Where the path was given, for messages: a key of the config or an option.
        shapes_alone: Give tensors without values, which need no memory.

    Raises:
        UserError: the file is missing, has another SHA-256, or holds no state dict.
    """
    refuse_other_file(path, sha256, source)
    try:
        stored: object = (
            load_file(path) if is_safetensors(path) else load_pickle(path, "meta" if shapes_alone else "cpu")
        )
    except Exception as error:  # a file that is torn, or of another kind, trips the readers anywhere
        raise UserError(f"{source} {path}: cannot be read as weights ({reason(error)}); get the right file") from error
    tensors = stored.get("teacher", stored) if isinstance(stored, dict) else None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise UserError(f"{source} {path}: no state dict in it, plain or under the key `teacher`; get the right file")
    by_name: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short_name = name.removeprefix("module.").removeprefix("backbone.")
        if short_name in by_name:
            raise UserError(f"{source} {path}: holds {short_name} twice, with and without a prefix; get the right file")
        by_name[short_name] = tensor
    return {name: tensor.to("meta") for name, tensor in by_name.items()} if shapes_alone else by_name


def reason(error: Exception) -> str:
    """The first sentence of what went wrong; torch wraps its unpickler's errors in advice to switch the safety off."""
    first = error.__context__ or error
    sentence = str(first).partition("\n")[0].partition(". ")[0].strip()
    return f"{type(first).__name__}: {sentence}".removesuffix(": ")


def refuse_other_file(path: Path, sha256: str | None, source: str) -> None:
    """Refuse a weights file that is absent or another than it should be."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{source} {path}: {error.strerror}; put the weights there") from error
    if sha256 is not None and digest != sha256:
        raise UserError(
            f"{source} {path}: its SHA-256 is {digest}, expected {sha256}; get the right file or correct the sha256"
            " beside its path"
        )


class LeftOut:
    """Stands in for a number of numpy while a pickle is read, and holds none of it."""

    def __init__(self, *_: object) -> None:
        """Take what numpy's constructors take."""

    def __setstate__(self, _: object) -> None:
        """Take what numpy's types are restored from."""


def load_pickle(path: Path, device: str) -> object:
    """The content of a file written by torch.save: tensors, plain containers and a command line's Namespace.

    DINO stores its arguments (a Namespace only holds values) and leaves learning rates from a numpy schedule in
    the optimiser, under names that changed with numpy 2. No encoder needs those, so numpy itself is not called.
    """
    numbers = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    with warnings.catch_warnings(), open(path, "rb") as file:  # of a path torch would look at the suffix
        warnings.simplefilter("ignore")  # of other kinds of file torch first warns, then raises
        with torch.serialization.safe_globals([argparse.Namespace, *((LeftOut, name) for name in numbers)]):
            stored: object = torch.load(file, map_location=device, weights_only=True)
    return stored

"""The frozen encoder of patches: a timm model whose pooled output is a patch's token."""

import argparse
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from slpd.errors import UserError
from slpd.settings.slides import PatchEncoder as Settings

POSITIONS = "pos_embed"
HEAD = "head."  # DINO's projection head in a checkpoint; the encoder ends before it


class PatchEncoder:
    """A frozen encoder, ready on its device.

    Attributes:
        settings: Model, weights, input normalisation.
        device: Where it runs: a GPU if there is one.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build_model(settings).to(self.device)
        self._mean = torch.tensor(settings.mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(settings.std, device=self.device).view(3, 1, 1)

    @torch.inference_mode()
    def encode(self, region: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Tokens of one region.

        Args:
            region: (side * patch_px, side * patch_px, 3) RGB.

        Returns:
            (side * side, D) tokens, row by row of the patch grid.
        """
        patches = split_patches(torch.from_numpy(region), self.settings.patch_px)  # (P, 3, patch_px, patch_px)
        tokens = [self._forward(batch) for batch in patches.split(self.settings.batch_patches)]
        return torch.cat(tokens).half().cpu().numpy()

    def _forward(self, patches: Tensor) -> Tensor:
        """(B, 3, patch_px, patch_px) uint8 -> (B, D); in half precision on a GPU."""
        scaled = (patches.to(self.device).float() / 255 - self._mean) / self._std
        half = torch.bfloat16 if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        with torch.autocast(self.device.type, dtype=half, enabled=self.device.type == "cuda"):
            tokens: Tensor = self.model(scaled)
        return tokens


def split_patches(region: Tensor, patch_px: int) -> Tensor:
    """(H, W, 3) region -> (P, 3, patch_px, patch_px) patches, row by row."""
    rows, columns = region.shape[0] // patch_px, region.shape[1] // patch_px
    grid = region.view(rows, patch_px, columns, patch_px, 3)
    return grid.permute(0, 2, 4, 1, 3).reshape(rows * columns, 3, patch_px, patch_px)


def build_model(settings: Settings) -> nn.Module:
    """The timm model in eval mode, with its weights, on the CPU.

    Raises:
        UserError: timm does not know the model, its input is not of `patch_px`, or the weights do not fit.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # random weights depend on the seed alone
            model: nn.Module = timm.create_model(
                settings.model, pretrained=False, num_classes=0, **settings.arguments
            ).eval()
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"encoder.model {settings.model} with {settings.arguments}: {one_line(error)}") from error
    refuse_wrong_input(model, settings)
    if settings.checkpoint is not None and settings.sha256 is not None:
        load_weights(model, Path(settings.checkpoint), settings.sha256)
    return model


def refuse_wrong_input(model: nn.Module, settings: Settings) -> None:
    """Try the model on one blank patch, so that a wrong size is known before any slide is read."""
    try:
        with torch.inference_mode():
            tokens = model(torch.zeros(1, 3, settings.patch_px, settings.patch_px))  # (1, D)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"encoder.model {settings.model} does not take patches of {settings.patch_px} px ({one_line(error)});"
            f" set encoder.arguments to {{img_size: {settings.patch_px}}} or change encoder.patch_px"
        ) from error
    if tokens.ndim != 2:
        raise UserError(
            f"encoder.model {settings.model} gives {tuple(tokens.shape)} for a patch, expected one vector;"
            " choose a model that pools, or set global_pool in encoder.arguments"
        )


def load_weights(model: nn.Module, path: Path, sha256: str) -> None:
    """Put a checkpoint's weights into the model; positions are resized to the model's grid.

    Raises:
        UserError: the file is missing, is not the one meant, or its tensors do not fit; all misfits are listed.
    """
    verify(path, sha256)
    weights = read_weights(path)
    expected = model.state_dict()
    if POSITIONS in weights and POSITIONS in expected:
        weights[POSITIONS] = resize_positions(weights[POSITIONS], expected[POSITIONS].shape[1])
    misfits = [
        *(f"{name} missing" for name in expected.keys() - weights.keys()),
        *(f"{name} surplus" for name in weights.keys() - expected.keys()),
        *(
            f"{name} is {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ),
    ]
    if misfits:
        raise UserError(f"weights {path} do not fit encoder.model: {'; '.join(sorted(misfits))}")
    model.load_state_dict(weights)


def verify(path: Path, sha256: str) -> None:
    """Refuse a weights file that is absent or another than the config names."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"encoder.checkpoint {path}: {error.strerror}; put the weights there") from error
    if found != sha256:
        raise UserError(f"encoder.checkpoint {path} has sha256 {found}, expected {sha256}; get the right file")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by their names in the encoder.

    Reads safetensors, a plain state dict, and the checkpoints of DINO and HIPT: entry `teacher`, names
    prefixed `module.` and `backbone.`, with the projection head. Runs no code from the file.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # DINO stores its command line; a Namespace only holds values.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"encoder.checkpoint {path} cannot be read as weights ({one_line(error)})") from error
    tensors = content.get("teacher", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"encoder.checkpoint {path} holds no state dict, plain or under the key `teacher`")
    named = {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(HEAD)}


def resize_positions(table: Tensor, n_positions: int) -> Tensor:
    """A position table for another square grid, as DINO and HIPT resize it.

    Bicubic by a scale factor that is 0.1 positions too large, which the sampling grid follows. Resizing to
    the size itself gives other values (4e-2 off), and HIPT's tokens with them.

    Args:
        table: (1, 1 + n, D), the CLS position first, then a square grid row by row.
        n_positions: 1 + positions of the grid wanted.

    Returns:
        (1, n_positions, D); the table itself if its grid is the one wanted.
    """
    side, wanted = round((table.shape[1] - 1) ** 0.5), round((n_positions - 1) ** 0.5)
    if side == wanted or side**2 != table.shape[1] - 1 or wanted**2 != n_positions - 1:
        return table  # fits, or is no such table: the caller compares shapes
    grid = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
    scale = (wanted + 0.1) / side
    resized = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]

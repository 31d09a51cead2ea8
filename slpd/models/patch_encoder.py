"""The frozen encoder of patches: a timm model whose pooled output is a patch's token."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from slpd.artifacts.patch_tokens.token_journal import EncodedRegion
from slpd.errors import UserError
from slpd.models.layers_by_name import layers_by_name
from slpd.models.pooling import add_pool, pooled
from slpd.models.published_names import timm_names
from slpd.models.region_encoder import positions_for
from slpd.models.sharpness import sharpness
from slpd.models.weights import fault_of_shape, load_exactly, refuse_misfit, without_head
from slpd.settings.slides import PatchEncoderSettings as Settings

log = logging.getLogger(__name__)

SLOWER = (
    "sums and norms are not in one kernel, so that more memory is moved, and tokens are rounded otherwise;"
    " if a compiler or Python's headers are missing, install them on the node (Debian: gcc, python3-dev)"
)
POSITIONS = "pos_embed"  # timm's name, and HIPT's
MISFIT = "patch_encoder.checkpoint does not fit patch_encoder.model with its arguments"


@dataclass(frozen=True)
class Encoding:
    """Tokens of one region; a GPU may still be computing them."""

    tokens: Tensor  # (P, D) float16, in the host's memory
    sharpness: Tensor  # ()
    copied: torch.cuda.Event | None  # the region's pixels were copied to the GPU; None: they need not stay
    done: torch.cuda.Event | None  # None: they are ready

    def wait_for_pixels(self) -> None:
        """Wait until the region's pixels may change."""
        if self.copied is not None:
            self.copied.synchronize()

    def result(self) -> EncodedRegion:
        """Wait for the tokens."""
        if self.done is not None:
            self.done.synchronize()
        return EncodedRegion(self.tokens.numpy(), float(self.sharpness))


class PatchEncoder:
    """A frozen encoder, ready on its device: a GPU if there is one, else the CPU."""

    def __init__(self, settings: Settings, weights: Mapping[str, Tensor] | None, batch_patches: int) -> None:
        """Build the encoder.

        Args:
            settings: Model, input normalisation, seed.
            weights: State dict; None: random weights drawn from the seed.
            batch_patches: Patches encoded at a time.

        Raises:
            UserError: timm does not know the model, its input is not of `patch_px`, or the weights do not fit.
        """
        self.settings, self.batch_patches = settings, batch_patches
        model = build_model(settings) if weights is None else loaded_model(settings, weights)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = made_for_gpu(model.to(self.device)) if self.device.type == "cuda" else model
        self.copies = torch.cuda.Stream() if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.mean = 255 * torch.tensor(settings.mean, device=self.device).view(3, 1, 1)
        self.std = 255 * torch.tensor(settings.std, device=self.device).view(3, 1, 1)
        blank = torch.zeros(1, 3, settings.patch_px, settings.patch_px, dtype=torch.uint8, device=self.device)
        with torch.inference_mode():
            self.width = self.forward(blank).shape[1]  # D

    def encode(self, region: NDArray[np.uint8], mpp: float) -> EncodedRegion:
        """Tokens and sharpness of one region; arguments as for `start`."""
        return self.start(region, mpp).result()

    @torch.inference_mode()
    def start(self, region: NDArray[np.uint8] | Tensor, mpp: float) -> Encoding:
        """Start encoding a region; a GPU works while the caller reads the next one.

        Args:
            region: (side * patch_px, side * patch_px, 3) RGB, on the encoder's device if it is a tensor; may change
                after the encoding's `wait_for_pixels`.
            mpp: µm per pixel.

        Returns:
            (side * side, D) tokens, row by row of the patch grid, and the sharpness.
        """
        pixels, copied = (region, None) if isinstance(region, Tensor) else self.to_device(region)  # (H, W, 3)
        patches = split_patches(pixels, self.settings.patch_px)  # (P, 3, patch_px, patch_px)
        tokens = torch.cat([self.forward(batch) for batch in torch.split(patches, self.batch_patches)])
        results = [values.to("cpu", non_blocking=True) for values in (tokens.half(), sharpness(pixels, mpp))]
        done = torch.cuda.Event() if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if done is not None:
            done.record()
        return Encoding(results[0], results[1], copied, done)

    def to_device(self, region: NDArray[np.uint8]) -> tuple[Tensor, torch.cuda.Event | None]:
        """Pixels on the device, and the end of their copy, which a GPU makes from page-locked memory by itself.

        It has a stream of its own, so that it does not wait for the region before to be encoded.
        """
        pixels = torch.from_numpy(np.require(region, requirements=["C", "W"]))
        if self.copies is None:
            return pixels, None
        with torch.cuda.stream(self.copies):
            locked = pixels if pixels.is_pinned() else pixels.pin_memory()
            on_device, copied = locked.to(self.device, non_blocking=True), self.copies.record_event()
        current = torch.cuda.current_stream()
        current.wait_event(copied)
        on_device.record_stream(current)
        return on_device, copied

    def forward(self, patches: Tensor) -> Tensor:
        """(B, 3, patch_px, patch_px) uint8 -> (B, D); products in float16 on a GPU.

        Tokens of a random ViT-S/16 are then off by 7e-4 of their norm, and by 6e-3 in bfloat16, which is as fast.
        """
        scaled = patches.float().sub_(self.mean).div_(self.std)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.device.type == "cuda"):
            return pooled(self.model, scaled, self.settings.pooling)


def made_for_gpu(model: nn.Module) -> nn.Module:
    """The model with products in float16, and with the blocks of a timm ViT as `FusedBlocks` where these compile."""
    model = with_half_products(model)
    try:
        from slpd.models.fused_blocks import FusedBlocks  # noqa: PLC0415 - imports Triton, for GPUs alone

        for module in list(model.modules()):
            for name, child in module.named_children():
                if FusedBlocks.equals(child):
                    fused = FusedBlocks(*child.children())
                    fused.try_out()
                    setattr(module, name, fused)
    except Exception:  # Triton is missing, or whatever a compiler, its cache or a driver may raise
        log.warning("patch encoder: %s", SLOWER, exc_info=True)
    return model


def with_half_products(model: nn.Module) -> nn.Module:
    """The model with the weights of its products in float16, which autocast would cast again for every batch."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.half()
        for name, child in module.named_children():
            if type(child) is nn.Conv2d and TilesProduct.equals(child):  # others also change weights or pad
                setattr(module, name, TilesProduct(child))
    return model


class TilesProduct(nn.Module):
    """A convolution whose windows tile the image, as one matrix product.

    For the three channels and 16 px of a ViT, cuDNN has no kernel in half precision that uses a GPU's matrix units: its
    convolution took 2.1 of the 17.8 ms of a region of 4096 px on an H200.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias  # (D, channels, height, width), (D,)

    @staticmethod
    def equals(convolution: nn.Conv2d) -> bool:
        """Whether the product is what a convolution gives. One of single pixels gains nothing."""
        c = convolution
        tiling = (c.kernel_size, c.padding, c.dilation, c.groups) == (c.stride, (0, 0), (1, 1), 1)
        return tiling and c.kernel_size > (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, D, rows, columns)."""
        height, width = self.weight.shape[2:]
        rows, columns = x.shape[2] // height, x.shape[3] // width
        whole = x[:, :, : rows * height, : columns * width]
        tiles = whole.reshape(*x.shape[:2], rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
        tiles = tiles.to(self.weight.dtype, memory_format=torch.contiguous_format)  # cast and sorted in one kernel
        product = F.linear(tiles.flatten(3), self.weight.flatten(1), self.bias)
        return product.permute(0, 3, 1, 2)


def split_patches(region: Tensor, patch_px: int) -> Tensor:
    """(H, W, 3) region -> (P, 3, patch_px, patch_px) patches, row by row."""
    rows, columns = region.shape[0] // patch_px, region.shape[1] // patch_px
    grid = region.view(rows, patch_px, columns, patch_px, 3)
    return grid.permute(0, 2, 4, 1, 3).reshape(rows * columns, 3, patch_px, patch_px)


def build_model(settings: Settings, device: str = "cpu") -> nn.Module:
    """The timm model, with its pool, in eval mode with random weights, which depend on the seed alone.

    Args:
        settings: Model, arguments, pooling, seed.
        device: "meta": without values, in no memory and no time.

    Raises:
        UserError: timm does not know the model or its arguments, or its input is not of `patch_px`.
    """
    given = {name: value for name, value in settings.arguments.items() if value is not None}
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(settings.seed)
            arguments = layers_by_name(given)
            model: nn.Module = timm.create_model(settings.model, pretrained=False, **{"num_classes": 0} | arguments)
            add_pool(model, settings.pooling)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"patch_encoder.model {settings.model} with the arguments {settings.arguments}: {first_line(error)};"
            " see timm.list_models() and timm.create_model"
        ) from error
    model.eval()
    token_width(model, settings, device)
    return model


def token_width(model: nn.Module, settings: Settings, device: str) -> int:
    """The length of a patch's token, by a try on one blank patch.

    Raises:
        UserError: the model does not take patches of `patch_px`, or does not give one vector for a patch.
    """
    try:
        with torch.inference_mode():
            blank = torch.zeros(1, 3, settings.patch_px, settings.patch_px, device=device)
            tokens = pooled(model, blank, settings.pooling)  # (1, D)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"patch_encoder.model {settings.model} does not take patches of {settings.patch_px} px"
            f" ({first_line(error)}); set img_size: {settings.patch_px} in patch_encoder.arguments"
        ) from error
    if tokens.ndim != 2:
        raise UserError(
            f"patch_encoder.model {settings.model} gives shape {tuple(tokens.shape)} for a patch, expected one vector;"
            " choose a model that pools, set global_pool in patch_encoder.arguments, or patch_encoder.pooling"
        )
    return tokens.shape[1]


def loaded_model(settings: Settings, weights: Mapping[str, Tensor]) -> nn.Module:
    """The model with given weights; random ones, half a minute for a billion, are drawn only where they must be.

    Raises:
        UserError: the model cannot be built, or the weights do not fit.
    """
    model = build_model(settings, "meta")
    computed = dict(model.named_buffers()).keys() - model.state_dict().keys()  # when it is built, and in no file
    model = build_model(settings) if computed else model.to_empty(device="cpu")
    load_weights(model, weights)
    return model


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into the model; positions are resized to the model's grid as HIPT does.

    Raises:
        UserError: tensors are missing, surplus or of another shape; all are listed.
    """
    load_exactly(model, fitted_to(model, weights), MISFIT)


def refuse_other_weights(model: nn.Module, shapes: Mapping[str, Tensor]) -> None:
    """Refuse weights that `load_weights` would refuse for their names or shapes; values are not looked at.

    Raises:
        UserError: tensors are missing, surplus or of another shape; all are listed.
    """
    refuse_misfit(model, fitted_to(model, shapes), MISFIT, fault_of_shape)


def fitted_to(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under the model's names, with positions for its grid."""
    fitted, expected = without_head(model, timm_names(weights)), model.state_dict()
    if POSITIONS in fitted and POSITIONS in expected:
        fitted[POSITIONS] = resize_positions(fitted[POSITIONS], expected[POSITIONS])
    return fitted


def resize_positions(table: Tensor, wanted: Tensor) -> Tensor:
    """A (1, 1 + n, D) position table for the square grid of `wanted`; unchanged where either grid is not square."""
    side, wanted_side = math.isqrt(table.shape[1] - 1), math.isqrt(wanted.shape[1] - 1)
    if side**2 != table.shape[1] - 1 or wanted_side**2 != wanted.shape[1] - 1:
        return table
    return positions_for(table, wanted_side, wanted_side)


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).partition("\n")[0]

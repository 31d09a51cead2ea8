"""The patch encoder computes HIPT's ViT_256-16 with its weights, and says what does not fit."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from slpd.errors import UserError
from slpd.models.patch_encoder import (
    PatchEncoder,
    TilesProduct,
    build_model,
    load_weights,
    split_patches,
    with_half_products,
)
from slpd.settings.slides import PatchEncoderSettings as Settings

pytestmark = pytest.mark.torch

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))
from fill import noise, parameter  # noqa: E402

SMALL = {"model": "vit_small_patch16_224", "arguments": {"img_size": 32, "patch_size": 16, "depth": 1}, "patch_px": 32}


def settings(**changes: object) -> Settings:
    common = {
        "pooling": "model",
        "checkpoint": None,
        "sha256": None,
        "seed": 0,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
    }
    return Settings(**(SMALL | common | changes))


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """HIPT's state dict with the golden weights."""
    shapes = json.loads((GOLDEN / "parameters.json").read_text())["vit256"]
    return {name: torch.from_numpy(parameter(name, tuple(shape))) for name, shape in shapes.items()}


@pytest.mark.parametrize("size", [256, 224])
def test_golden_vit256(released: dict[str, torch.Tensor], size: int) -> None:
    model = build_model(settings(arguments={"img_size": size}, patch_px=size))
    load_weights(model, released)
    golden = np.load(GOLDEN / "encoders.npz")[f"vit256_on_{size}"]
    image = torch.from_numpy(noise(f"input/patch{size}", (len(golden), 3, size, size), 1.0))
    with torch.inference_mode():
        deviation = float(np.abs(model(image).numpy() - golden).max())
    print(f"golden vit256_on_{size}: {deviation:.1e} (tolerance 1e-05)")  # shown by `pytest -rP`
    assert deviation < 1e-5


def test_patches_are_cut_row_by_row_and_normalised() -> None:
    encoder = PatchEncoder(settings(), None, 5)
    region = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    tokens = encoder.encode(region, 0.5).tokens
    assert tokens.shape == (6, 384)
    assert tokens.dtype == np.float16
    patch = region[32:64, 64:96]  # row 1, column 2
    pixels = (patch / 255 - (0.5, 0.4, 0.3)) / (0.2, 0.3, 0.4)
    with torch.inference_mode():
        alone = build_model(settings())(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
    assert np.abs(tokens[5] - alone[0].numpy()).max() < (1e-2 if encoder.device.type == "cpu" else 0.1)
    assert np.abs(tokens[5] - tokens[4]).max() > 0.05  # another patch, another token
    assert torch.equal(split_patches(torch.from_numpy(region), 32)[5].permute(1, 2, 0), torch.from_numpy(patch))


def test_pixels_may_change_once_they_were_copied() -> None:
    encoder = PatchEncoder(settings(), None, 5)
    region = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = encoder.encode(region.copy(), 0.5)
    under_way = encoder.start(region, 0.5)
    under_way.wait_for_pixels()
    region[:] = 0
    assert np.array_equal(under_way.result().tokens, expected.tokens)
    assert under_way.result().sharpness == expected.sharpness > 0


@pytest.mark.gpu
def test_half_precision_on_a_gpu_is_near_float32() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    encoder = PatchEncoder(settings(), None, 5)
    region = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    started = [encoder.start(region, 0.5) for _ in range(4)]  # several under way
    tokens = [encoding.result().tokens for encoding in started]
    assert all(np.array_equal(tokens[0], other) for other in tokens[1:])
    patches = split_patches(torch.from_numpy(region), 32).float()
    with torch.inference_mode():
        exact = build_model(settings())((patches - encoder.mean.cpu()) / encoder.std.cpu()).numpy()
    assert np.abs(tokens[0] - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("size", [(32, 48), (39, 41)])
def test_a_product_of_tiles_is_the_convolution_that_it_stands_for(size: tuple[int, int]) -> None:
    """Also where pixels are left over at the right and below."""
    convolution = torch.nn.Conv2d(3, 10, (16, 8), (16, 8)).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    assert TilesProduct.equals(convolution)
    torch.testing.assert_close(TilesProduct(convolution)(images), convolution(images))


def test_other_convolutions_stay() -> None:
    class Padded(torch.nn.Conv2d):
        """As timm's: more than a convolution."""

    plain = [torch.nn.Conv2d(3, 4, 7, 2, 3), torch.nn.Conv2d(4, 8, 1), torch.nn.Conv2d(4, 8, 2, 2)]
    model = with_half_products(torch.nn.Sequential(*plain, Padded(4, 8, 2, 2), torch.nn.Linear(3, 4)))
    assert [type(module).__name__ for module in model] == ["Conv2d", "Conv2d", "TilesProduct", "Padded", "Linear"]
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_random_weights_depend_on_the_seed_alone() -> None:
    region = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    torch.manual_seed(1)
    first = PatchEncoder(settings(), None, 5).encode(region, 0.5).tokens
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = PatchEncoder(settings(), None, 5).encode(region, 0.5).tokens
    assert np.array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not np.array_equal(first, PatchEncoder(settings(seed=1), None, 5).encode(region, 0.5).tokens)


def test_a_head_is_left_out_unless_the_model_has_one() -> None:
    """The head of DINO's checkpoint, or timm's classifier, is not part of an encoder that ends before it."""
    bare = build_model(settings())
    head = {"head.weight": torch.randn(3, bare.num_features), "head.bias": torch.randn(3)}
    encoder = PatchEncoder(settings(), bare.state_dict() | head, 5)
    with_layer = SMALL["arguments"] | {"num_classes": 3}
    projected = PatchEncoder(settings(arguments=with_layer), bare.state_dict() | head, 5)
    region = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tokens, given = (torch.from_numpy(one.encode(region, 0.5).tokens).float() for one in (encoder, projected))
    torch.testing.assert_close(given, tokens @ head["head.weight"].T + head["head.bias"], atol=0.02, rtol=0.01)
    with pytest.raises(UserError, match=r"head\.bias is missing; head\.weight is missing"):
        PatchEncoder(settings(arguments=with_layer), bare.state_dict(), 5)


def test_a_layer_that_the_pooling_leaves_out_is_refused() -> None:
    with pytest.raises(ValidationError, match="leaves out the layer that num_classes adds"):
        settings(arguments=SMALL["arguments"] | {"num_classes": 3}, pooling="class_and_mean")


def test_what_is_named_head_and_belongs_to_the_encoder_stays() -> None:
    """ConvNeXt's last norm is `head.norm`, its classifier `head.fc`."""
    convnext = {"model": "convnext_atto", "arguments": {"depths": [1, 1, 1, 1]}, "patch_px": 32}
    bare = build_model(settings(**convnext))
    classifier = {"head.fc.weight": torch.zeros(3, bare.num_features), "head.fc.bias": torch.zeros(3)}
    load_weights(bare, bare.state_dict() | classifier)


def test_every_misfit_is_listed(released: dict[str, torch.Tensor]) -> None:
    state = dict(released)
    del state["norm.bias"]
    state["extra"] = torch.zeros(1)
    state["cls_token"] = torch.zeros(1, 1, 192)
    with pytest.raises(UserError) as error:
        load_weights(build_model(settings(arguments={"img_size": 256}, patch_px=256)), state)
    for part in ("norm.bias is missing", "extra is surplus", "cls_token has shape (1, 1, 192), expected (1, 1, 384)"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vit_of_nobody"}, "patch_encoder.model vit_of_nobody"),
        ({"arguments": {"colour": "pink"}}, "colour"),
        ({"patch_px": 48}, "does not take patches of 48 px"),
        ({"arguments": SMALL["arguments"] | {"global_pool": ""}}, "expected one vector"),
    ],
)
def test_models_that_do_not_serve_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PatchEncoder(settings(**changes), None, 5)

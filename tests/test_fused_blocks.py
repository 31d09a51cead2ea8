"""Blocks with sums and norms in one kernel are timm's blocks; what is not exactly timm's stays as it is."""

import itertools
import json
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from timm.layers import LayerNormFp32, RmsNorm
from timm.models.vision_transformer import Block, ParallelScalingBlock, ResPostBlock
from torch import nn

from slpd.models.fused_blocks import FusedBlocks
from slpd.models.patch_encoder import made_for_gpu

pytestmark = pytest.mark.torch

ENCODERS = Path(__file__).parents[1] / "config/encoders"
WIDTHS = (384, 768, 1000, 1536)
SMALL: dict[str, Any] = {"img_size": 32, "embed_dim": 48, "num_heads": 4, "depth": 2}


def interpreted(program: str, given: object) -> Any:  # noqa: ANN401
    """The JSON that a program prints; Triton reads the variable when it is imported, so it is a process of its own."""
    command, environ = [sys.executable, "-c", program, json.dumps(given)], {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


SUMS = """
import json, sys, torch
from timm.layers import LayerScale
from torch import nn
from slpd.models.fused_blocks import add_norm

def compared(width, half, scaled):
    x, branch = 3 * torch.randn(3, 7, width) + 1, torch.randn(3, 7, width)  # 21 rows: not whole programs
    branch = branch.half() if half else branch
    norm, scale = nn.LayerNorm(width, eps=1e-3), LayerScale(width) if scaled else nn.Identity()
    for values in (*norm.parameters(), *scale.parameters()):
        values.normal_()
    total, normed = add_norm(x, branch, scale, norm)
    assert (total.dtype, normed.dtype) == (torch.float32, branch.dtype)
    exact = norm.double()(total.double())
    return torch.equal(total, x + scale(branch)), float((normed - exact).norm() / exact.norm())

torch.manual_seed(0)
with torch.no_grad():
    print(json.dumps([compared(*case) for case in json.loads(sys.argv[1])]))
"""


def test_sums_are_those_of_torch_and_norms_are_near_exact_ones() -> None:
    """With and without a scale, of branches in half and in single precision, at widths that are no powers of two."""
    cases = list(itertools.product(WIDTHS, [True, False], [True, False]))
    found = interpreted(SUMS, cases)
    assert len(found) == len(cases)
    for (width, half, scaled), (equal, off) in zip(cases, found, strict=True):
        assert equal, (width, half, scaled)
        assert off < (3e-4 if half else 1e-7), (width, half, scaled, off)  # rounding to float16 is 2e-4


TOKENS = """
import json, sys, torch
from slpd.models.fused_blocks import FusedBlocks
from slpd.models.patch_encoder import build_model
from slpd.models.pooling import pooled
from slpd.settings.slides import PatchEncoderSettings

def compared(given):
    settings = PatchEncoderSettings(**given)
    model, patches = build_model(settings), torch.randn(2, 3, settings.patch_px, settings.patch_px)
    for values in model.parameters():
        if values.ndim == 1:  # norms, biases and scales, which would be 1, 0 or 1e-5
            values.normal_()
    expected, names = pooled(model, patches, settings.pooling), list(model.state_dict())
    assert FusedBlocks.equals(model.blocks)
    model.blocks = FusedBlocks(*model.blocks)
    assert list(model.state_dict()) == names
    return float((pooled(model, patches, settings.pooling) - expected).norm() / expected.norm())

torch.manual_seed(0)
with torch.no_grad():
    print(json.dumps([compared(given) for given in json.loads(sys.argv[1])]))
"""


def small_form(name: str) -> dict[str, Any]:
    """Settings of an encoder: two blocks, patches of 112 px (a multiple of 14 and of 16), and no weights."""
    settings: dict[str, Any] = yaml.safe_load((ENCODERS / f"{name}.yaml").read_text())["patch_encoder"]
    arguments = settings["arguments"] | {"depth": 2, "img_size": 112}
    return settings | {"arguments": arguments, "patch_px": 112, "checkpoint": None, "sha256": None, "seed": 0}


def test_tokens_are_those_of_timms_blocks() -> None:
    """Of all encoders of the config and of one block alone: with registers, scales, gated layers, and every pooling."""
    models = [small_form(path.stem) for path in sorted(ENCODERS.glob("*.yaml"))]
    models.append(models[0] | {"arguments": SMALL | {"depth": 1, "pre_norm": True, "qk_norm": True}, "patch_px": 32})
    off = interpreted(TOKENS, models)
    assert len(off) == len(models)
    assert max(off) < 2e-6, off


class Another(Block):
    """What a subclass computes is not known."""


OTHERS = {
    "another order of norms": {"block_fn": ResPostBlock},
    "branches side by side": {"block_fn": ParallelScalingBlock},
    "a subclass": {"block_fn": Another},
    "another norm": {"norm_layer": RmsNorm},
    "a norm with another precision": {"norm_layer": LayerNormFp32},
    "a norm without weights": {"norm_layer": partial(nn.LayerNorm, elementwise_affine=False)},
    "a norm without a bias": {"norm_layer": partial(nn.LayerNorm, bias=False)},
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_blocks_stay(case: str) -> None:
    model = timm.create_model("vit_small_patch16_224", **SMALL | OTHERS[case])
    assert not FusedBlocks.equals(model.blocks)


@pytest.mark.parametrize("name", ["convnext_atto", "eva02_tiny_patch14_224"])
def test_other_models_stay(name: str) -> None:
    assert not any(FusedBlocks.equals(module) for module in timm.create_model(name).modules())


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the kernel runs")
def test_where_the_kernel_does_not_run_timms_blocks_do(caplog: pytest.LogCaptureFixture) -> None:
    model = timm.create_model("vit_small_patch16_224", **SMALL)
    with caplog.at_level(logging.WARNING):
        assert type(made_for_gpu(model).blocks) is nn.Sequential
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "sums and norms are not in one kernel" in caplog.text
    assert "Debian: gcc" in caplog.text
    assert "driver" in caplog.text  # the reason: there is none

"""`attend_patches`: the attention of the class token in the last block, as written from its definition."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_training import ENCODER, GRID, N_REGIONS, TOKEN_WIDTH, stage, write_cohort

from slpd.__main__ import main
from slpd.artifacts.learned.encoder_file import RegionEncoderCard, write_region_encoder
from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.errors import UserError
from slpd.models.network import build_region_encoder
from slpd.models.region_encoder import RegionViT
from slpd.settings.training import RegionEncoder
from slpd.training import embed

pytestmark = pytest.mark.torch


def drawn_encoder(settings: RegionEncoder = ENCODER) -> RegionViT:
    """Weights far larger than those training starts from, so that attention is not uniform."""
    encoder = build_region_encoder(settings, TOKEN_WIDTH)
    encoder.draw_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.qkv.weight *= 30
    return encoder


def attention_by_hand(encoder: RegionViT, tokens: torch.Tensor) -> NDArray[np.float64]:
    """(B, heads, 1 + N) softmax of q k / sqrt(d) of the class token, from what `forward` hands to the last block."""
    entered: list[torch.Tensor] = []
    hook = encoder.blocks[-1].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    with torch.no_grad():
        encoder(tokens)
    hook.remove()
    block, x = encoder.blocks[-1], entered[0].double().numpy()
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = x * block.norm1.weight.detach().numpy() + block.norm1.bias.detach().numpy()
    weight, bias = (tensor.detach().double().numpy() for tensor in (block.attn.qkv.weight, block.attn.qkv.bias))
    D, d = x.shape[2], x.shape[2] // ENCODER.heads
    result = np.empty((len(x), ENCODER.heads, x.shape[1]))
    for region in range(len(x)):
        for head in range(ENCODER.heads):
            rows = slice(head * d, (head + 1) * d)
            query = weight[:D][rows] @ x[region, 0] + bias[:D][rows]
            scores = [query @ (weight[D : 2 * D][rows] @ x_n + bias[D : 2 * D][rows]) / d**0.5 for x_n in x[region]]
            result[region, head] = np.exp(scores) / np.exp(scores).sum()
    return result


@pytest.mark.parametrize("depth", [1, 2])
def test_attention_is_that_of_the_last_block(depth: int) -> None:
    encoder = drawn_encoder(ENCODER.model_copy(update={"depth": depth}))
    tokens = torch.randn(3, GRID, GRID, TOKEN_WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = encoder.class_attention(tokens).numpy()
    expected = attention_by_hand(encoder, tokens)
    assert found.shape == (3, ENCODER.heads, GRID**2)
    np.testing.assert_allclose(found, expected[:, :, 1:], rtol=1e-4)
    np.testing.assert_allclose(found.sum(axis=2), 1 - expected[:, :, 0], rtol=1e-5)
    assert found.max() > 3 * found.mean()  # the weights do tell patches apart


def write_teacher(path: Path) -> Path:
    weights = {name: tensor.numpy() for name, tensor in drawn_encoder().state_dict().items()}
    card = RegionEncoderCard(region_encoder=ENCODER, token_width=TOKEN_WIDTH, grid=GRID, versions={})
    write_region_encoder(path, weights, card)
    return path


def test_file_has_the_regions_of_every_slide_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "BATCH", {"cpu": 5})  # batches that end within slides
    manifest, teacher = write_cohort(tmp_path), write_teacher(tmp_path / "t.safetensors")
    stage("attend_patches", "--manifest", str(manifest), "--teacher", str(teacher), "--out", f"{tmp_path}/attention.h5")
    cohort, encoder = open_cohort_tokens(manifest), drawn_encoder()
    with open_patch_attention(tmp_path / "attention.h5") as found:
        assert found.slides == sorted(N_REGIONS)
        assert found.attention.dtype == np.float16
        assert len(found.attention) == sum(N_REGIONS.values())
        for number, slide in enumerate(found.slides):
            tokens = torch.from_numpy(cohort.read_slide(number, np.arange(N_REGIONS[slide]))).float()
            stored = found.attention[found.offsets[number] : found.offsets[number + 1]]
            np.testing.assert_allclose(stored, attention_by_hand(encoder, tokens)[:, :, 1:], rtol=2e-3, atol=1e-6)


def test_tokens_that_are_not_finite_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, teacher = write_cohort(tmp_path), write_teacher(tmp_path / "t.safetensors")
    features = np.zeros((9, GRID**2, TOKEN_WIDTH), np.float16)
    features[3, 0, 0] = np.inf
    source = TokenSource("b", "fingerprint-b", "encoder", "random-0", "openslide", 4, 24, 24, 1, 1, 1, 1)
    write_tokens(tmp_path / "b.h5", features, np.zeros((9, 2), np.int64), source)
    options = ["--manifest", str(manifest), "--teacher", str(teacher), "--out", f"{tmp_path}/attention.h5"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["slpd", "attend_patches", *options])
        assert main() == 2
    assert "b: 3" in capsys.readouterr().err
    assert not list(tmp_path.glob("*attention*")) + list(tmp_path.glob(".attention*"))


def test_another_file_is_no_attention(tmp_path: Path) -> None:
    (tmp_path / "attention.h5").write_bytes(b"no HDF5")
    with (
        pytest.raises(UserError, match=r"attention\.h5: cannot be read"),
        open_patch_attention(tmp_path / "attention.h5"),
    ):
        pass

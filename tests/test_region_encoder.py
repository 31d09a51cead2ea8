"""The region encoder's parts that the golden values do not reach: stochastic depth and random weights."""

import pytest
import torch
from small_training import ENCODER, TOKEN_WIDTH

from slpd.models.network import Network
from slpd.models.region_encoder import drop_path_factors

pytestmark = pytest.mark.torch


def drawn_network(seed: int = 0) -> Network:
    network = Network(ENCODER, TOKEN_WIDTH)
    network.draw_weights(seed)
    return network


def test_dropping_rates_rise_with_depth_and_keep_the_mean() -> None:
    factors = drop_path_factors(torch.rand(3, 2, 20_000, generator=torch.Generator().manual_seed(0)), 0.4)
    dropped = (factors == 0).float().mean(dim=(1, 2))
    torch.testing.assert_close(dropped, torch.tensor([0.0, 0.2, 0.4]), atol=0.01, rtol=0)
    torch.testing.assert_close(factors.mean(dim=(1, 2)), torch.ones(3), atol=0.02, rtol=0)


def test_dropping_concerns_single_regions() -> None:
    backbone = drawn_network().backbone
    tokens = torch.randn(3, 4, 4, TOKEN_WIDTH)
    keep = torch.ones(ENCODER.depth, 2, 3)
    torch.testing.assert_close(backbone(tokens, keep), backbone(tokens))
    keep[:, :, 1] = 0  # region 1 loses every branch: its CLS token passes through as it is
    dropped, cls = backbone(tokens, keep), (backbone.cls_token + backbone.pos_embed[:, :1]).flatten()
    torch.testing.assert_close(dropped[1], backbone.norm(cls))
    torch.testing.assert_close(dropped[[0, 2]], backbone(tokens)[[0, 2]])


def test_each_branch_has_its_own_factor() -> None:
    backbone, tokens = drawn_network().backbone, torch.randn(2, 4, 4, TOKEN_WIDTH)
    without = []
    for branch in (0, 1):
        keep = torch.ones(ENCODER.depth, 2, 2)
        keep[:, branch] = 0
        without.append(backbone(tokens, keep))
    assert not torch.allclose(*without)


def test_weights_start_as_those_of_dino_do() -> None:
    """Normal of std 0.02, biases 0, norms 1; the last layer as torch's own: uniform in ±1 / sqrt(width)."""
    wide = ENCODER.model_copy(update={"width": 64, "head_width": 128, "bottleneck": 64, "outputs": 256})
    network = Network(wide, TOKEN_WIDTH)
    network.draw_weights(0)
    for name, tensor in network.state_dict().items():
        if name == "head.last_layer.weight_v":
            assert tensor.abs().max() <= 1 / 8
            assert float(tensor.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.02)
        elif name.endswith("bias"):
            assert not tensor.any(), name
        elif "norm" in name:
            assert (tensor == 1).all(), name
        elif tensor.numel() > 1000:
            assert float(tensor.std()) == pytest.approx(0.02, rel=0.1), name


def test_weights_come_from_the_seed_alone() -> None:
    first = drawn_network(3).state_dict()
    torch.rand(5)
    again, other = drawn_network(3).state_dict(), drawn_network(4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_last_layer_rows_have_length_one_whatever_the_weights() -> None:
    network = drawn_network()
    vectors = torch.randn(2, ENCODER.width)
    before = network.head(vectors)
    with torch.no_grad():
        network.head.last_layer.weight_v.mul_(7)
    torch.testing.assert_close(network.head(vectors), before)
    assert before.abs().max() <= 1

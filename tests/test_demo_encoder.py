"""The demo's patch encoder: its linear layer finds what adjacent patches share; its file is what the program makes."""

import numpy as np
import pytest
import torch

from benchmarks.demo import experiment_of
from benchmarks.demo_encoder import fitted_layer, fitted_weights
from slpd.models.patch_encoder import PatchEncoder
from slpd.stages.encode_patches import read_weights

pytestmark = pytest.mark.torch


def test_the_layer_finds_what_adjacent_patches_share_and_gives_it_variance_one() -> None:
    """Regions have three numbers of their own, of unequal size, under stronger noise of every patch."""
    rng = np.random.default_rng(0)
    own = rng.normal(0, (3, 1, 0.5), (4000, 3))
    mixing = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    noise = rng.normal(0, (0.5, 1, 0.5, 4, 4, 4, 4, 4), (4000, 3, 3, 8))
    tokens = np.concatenate([own, np.zeros((4000, 5))], axis=1)[:, None, None] + noise
    weight, bias = fitted_layer(5 + tokens @ mixing.T, 3)
    given = (5 + tokens @ mixing.T) @ weight.T + bias
    np.testing.assert_allclose(given.mean(axis=(0, 1, 2)), 0, atol=1e-9)
    first, second = (given[:, :, part].reshape(-1, 3) for part in (slice(None, -1), slice(1, None)))
    np.testing.assert_allclose(first.T @ second / len(first), np.eye(3), atol=0.15)
    told = np.linalg.lstsq(given.mean(axis=(1, 2)), own, rcond=None)[0]
    left = own - given.mean(axis=(1, 2)) @ told
    assert (left.var(axis=0) < np.array([0.1, 0.3, 0.3]) * own.var(axis=0)).all()


@pytest.mark.slow
def test_the_file_is_what_the_program_makes() -> None:
    """On another processor the last bits differ, and with them directions that share about as much."""
    settings = experiment_of(0, {}).patch_encoder
    stored = read_weights(settings)
    assert stored is not None
    made = fitted_weights(settings)
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 3, 24, 24), dtype=np.uint8))
    with torch.inference_mode():
        tokens = [PatchEncoder(settings, weights, 200).forward(patches) for weights in (stored, made)]
    torch.testing.assert_close(*(torch.pdist(one) for one in tokens), rtol=0.02, atol=0.02)

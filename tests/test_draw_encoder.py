"""`draw_encoder`: the untrained region encoder is the one that a training with its seed begins with."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import ENCODER, FLOAT32, OBJECTIVE, TOKEN_WIDTH, TRAINING, write_cohort
from test_embed_bags import embed

from slpd.__main__ import main
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.training.learner import Learner

pytestmark = pytest.mark.torch


def draw(manifest: Path, seed: int) -> Path:
    """Run the stage in this process; the weights that it wrote."""
    out = manifest.with_name(f"random_{seed}.safetensors")
    options = ["--encoder", ENCODER.model_dump_json(), "--seed", str(seed), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["slpd", "draw_encoder", "--manifest", str(manifest), *options])
        assert main() == 0
    return out


def test_vectors_are_those_of_a_network_before_its_first_step(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    teacher = Learner(ENCODER, TRAINING, OBJECTIVE, TOKEN_WIDTH, FLOAT32, 8).teacher.backbone.eval()
    assert embed(manifest, draw(manifest, TRAINING.seed)) == 0
    bags, cohort = read_bags(tmp_path / "bags.h5"), open_cohort_tokens(manifest)
    for slide, name in enumerate(cohort.slides):
        tokens = torch.from_numpy(cohort.read_slide(slide, np.arange(len(bags[name])))).float()
        with torch.no_grad():
            np.testing.assert_allclose(bags[name], teacher(tokens).numpy(), rtol=1e-4, atol=1e-5)


def test_a_seed_gives_the_same_file_and_another_seed_other_vectors(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    first = draw(manifest, 1).read_bytes()
    assert draw(manifest, 1).read_bytes() == first
    vectors = []
    for seed in (1, 2):
        assert embed(manifest, draw(manifest, seed)) == 0
        vectors.append(read_bags(tmp_path / "bags.h5")["a"])
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1  # of unit variance, by the final norm

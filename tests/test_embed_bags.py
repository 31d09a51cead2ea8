"""`embed_bags` with encoders from elsewhere: HIPT's weights give HIPT's vectors, and what does not fit is listed."""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import ENCODER, GRID, TOKEN_WIDTH, write_cohort

from slpd.__main__ import main
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.learned.encoder_file import RegionEncoderCard, write_region_encoder
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.models.network import build_region_encoder
from slpd.settings.training import RegionEncoder

pytestmark = pytest.mark.torch

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))
from fill import noise, parameter  # noqa: E402

HIPT = RegionEncoder(
    width=192, depth=6, heads=6, drop_path=0.1, position_grid=14, head_width=2048, bottleneck=256, outputs=65536
)


def embed(manifest: Path, teacher: Path, *options: str) -> int:
    """Run the stage in this process, bags beside the manifest; its exit status."""
    out = manifest.with_name("bags.h5")
    with pytest.MonkeyPatch.context() as patched:
        paths = ["--manifest", str(manifest), "--teacher", str(teacher), "--out", str(out)]
        patched.setattr(sys, "argv", ["slpd", "embed_bags", *paths, *options])
        return main()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def golden_checkpoint(path: Path) -> Path:
    """The golden weights in the form of HIPT's vit4k_xs_dino.pth: a checkpoint of DINO's training loop."""
    shapes = json.loads((GOLDEN / "parameters.json").read_text())["vit4k"]
    teacher = {f"backbone.{name}": torch.from_numpy(parameter(name, shape)) for name, shape in shapes.items()}
    student = {f"module.{name}": torch.zeros_like(tensor) for name, tensor in teacher.items()}
    optimizer = {"param_groups": [{"lr": np.float64(1e-6)}]}
    head = {"head.mlp.0.weight": torch.zeros(2), "head.last_layer.weight_g": torch.ones(2)}
    args = argparse.Namespace(arch="vit_xs")
    torch.save({"student": student, "teacher": teacher | head, "optimizer": optimizer, "args": args}, path)
    return path


def write_golden_cohort(folder: Path, size: int) -> Path:
    """One slide whose three regions are the golden input on a grid of `size` x `size` patches."""
    features = noise(f"input/region{size}", (3, 384, size, size), 1.0).transpose(0, 2, 3, 1).reshape(3, -1, 384)
    source = TokenSource("s", "f", "vit", "random-0", "openslide", 256, 256 * size, 256 * size, 0.5, 0.5, 0.5, 0.5)
    write_tokens(folder / "s.h5", features.astype(np.float16), np.zeros((3, 2), np.int64), source)
    write_manifest(folder / "slides.csv", [ManifestRow(SlideRecord(slide="s", path="s.svs"), folder / "s.h5")])
    return folder / "slides.csv"


@pytest.mark.parametrize("size", [14, 16, 6])
def test_released_weights_give_the_released_vectors(tmp_path: Path, size: int) -> None:
    """On HIPT's own grid, and on others, for which positions are resized.

    Tokens are stored in half precision, 11 bits: each is off by at most 2.4e-4 of itself, at random. The vectors, of
    unit variance by the final norm, are then off by about as much: 1e-3 leaves room and is far below any wrong weight.
    """
    manifest, teacher = write_golden_cohort(tmp_path, size), golden_checkpoint(tmp_path / "vit4k_xs_dino.pth")
    options = ["--encoder", HIPT.model_dump_json(), "--sha256", sha256(teacher)]
    assert embed(manifest, teacher, *options) == 0
    golden = np.load(GOLDEN / "encoders.npz")[f"vit4k_on_{size}"]
    deviation = np.abs(read_bags(tmp_path / "bags.h5")["s"] - golden).max()
    print(f"vit4k_on_{size}: {deviation:.1e}")
    assert deviation < 1e-3
    assert golden.std() > 0.5


def test_architecture_of_the_config_must_be_that_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, teacher = write_golden_cohort(tmp_path, 14), golden_checkpoint(tmp_path / "w.pth")
    other = HIPT.model_copy(update={"width": 96, "depth": 7, "position_grid": 16})
    assert embed(manifest, teacher, "--encoder", other.model_dump_json()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in (
        "w.pth does not fit region_encoder on patch tokens of width 384: ",
        "blocks.6.norm1.bias is missing",
        "cls_token has shape (1, 1, 192), expected (1, 1, 96)",
        "pos_embed has shape (1, 197, 192), expected (1, 257, 96)",
    ):
        assert part in error


def test_tokens_of_another_width_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = golden_checkpoint(tmp_path / "w.pth")
    assert embed(write_cohort(tmp_path), teacher, "--encoder", HIPT.model_dump_json()) == 2
    error = capsys.readouterr().err
    assert "width 8: phi.0.weight has shape (192, 384), expected (192, 8)\n" in error


def test_another_file_than_the_config_names_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = golden_checkpoint(tmp_path / "w.pth")
    assert embed(write_cohort(tmp_path), teacher, "--sha256", "0" * 64, "--encoder", HIPT.model_dump_json()) == 2
    assert f"pretrained.checkpoint {teacher}: its SHA-256 is {sha256(teacher)}, expected 000" in capsys.readouterr().err


def test_weights_without_architecture_need_the_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = golden_checkpoint(tmp_path / "w.pth")
    assert embed(write_cohort(tmp_path), teacher, "--encoder", "--sha256") == 2  # as the rule writes absent values
    assert "w.pth: does not state its architecture; give --encoder" in capsys.readouterr().err


def test_our_own_weights_bring_their_architecture_and_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_cohort(tmp_path)
    encoder = build_region_encoder(ENCODER, TOKEN_WIDTH)
    encoder.draw_weights(torch.Generator().manual_seed(0))
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    for grid, status in ((GRID, 0), (GRID + 1, 2)):
        card = RegionEncoderCard(region_encoder=ENCODER, token_width=TOKEN_WIDTH, grid=grid, versions={})
        write_region_encoder(tmp_path / "w.safetensors", weights, card)
        assert embed(manifest, tmp_path / "w.safetensors", "--encoder", HIPT.model_dump_json()) == status
    assert "trained on 7 x 7 patches of width 8, the manifest's tokens are 6 x 6" in capsys.readouterr().err
    del weights["norm.bias"]
    card = RegionEncoderCard(region_encoder=ENCODER, token_width=TOKEN_WIDTH, grid=GRID, versions={})
    write_region_encoder(tmp_path / "w.safetensors", weights, card)
    assert embed(manifest, tmp_path / "w.safetensors") == 2
    assert "norm.bias is missing\n" in capsys.readouterr().err

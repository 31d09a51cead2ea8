"""An exported encoder says what it is, loads as its card shows, and computes the same under the released names."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from small_training import (
    ENCODER,
    GRID,
    N_REGIONS,
    OBJECTIVE,
    PROTOTYPES,
    SLIDE_GRAPH,
    TOKEN_WIDTH,
    TRAINING,
    stage,
    write_cohort,
)
from test_embed_bags import HIPT, embed, sha256

from slpd.artifacts.learned.encoder_file import RegionEncoderCard, read_region_encoder, write_region_encoder
from slpd.artifacts.slides.manifest import ManifestRow, read_manifest, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.models.network import build_region_encoder
from slpd.settings.recipe import Recipe
from slpd.settings.slides import PatchEncoderSettings, Reading, Regions, Tissue
from slpd.settings.training import RegionEncoder
from slpd.settings.variant import Variant
from slpd.versions import VERSION, training_versions

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]
WEIGHTS_HASH = "5a" * 32
RECIPE = Recipe(
    experiment="mine",
    cohort="lung",
    variant="slpd",
    tissue=Tissue(mpp=8, min_area_mm2=0.05, min_hole_mm2=0.05),
    regions=Regions(mpp=0.5, region_px=24, min_tissue=0.1, max_pen=1, max_padding=1),
    reading=Reading(reader="auto"),
    min_sharpness=0,
    patch_encoder=PatchEncoderSettings(
        model="vit_of_ours",
        arguments={"img_size": 4},
        pooling="model",
        checkpoint="/somewhere/on/this/machine.pth",
        sha256=WEIGHTS_HASH,
        seed=0,
        patch_px=4,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    ),
    region_encoder=ENCODER,
    training=TRAINING,
    objective=OBJECTIVE,
    prototypes=PROTOTYPES,
    slide_graph=SLIDE_GRAPH,
)


def write_teacher(path: Path, settings: RegionEncoder, token_width: int, grid: int) -> None:
    """An encoder with random weights, as training leaves it."""
    encoder = build_region_encoder(settings, token_width)
    encoder.draw_weights(torch.Generator().manual_seed(0))
    weights = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    card = RegionEncoderCard(region_encoder=settings, token_width=token_width, grid=grid, versions={"slpd": "0.0.7"})
    write_region_encoder(path, weights, card)


def export(folder: Path, out: str = "out", recipe: Recipe = RECIPE, licence: str = "other") -> Path:
    """Export `folder/teacher.safetensors`; the folder of the exported files."""
    stage(
        "export_encoder",
        *("--manifest", str(folder / "slides.csv"), "--teacher", str(folder / "teacher.safetensors")),
        *("--recipe", recipe.model_dump_json(), "--weights", str(folder / out / "region_encoder.safetensors")),
        *("--card", str(folder / out / "README.md"), "--config", str(folder / out / "config.json")),
        *("--licence", licence),
    )
    return folder / out


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A folder with tokens, their manifest in which a fifth slide failed, and a teacher."""
    manifest = write_cohort(tmp_path)
    state_encoder(manifest, "vit_of_ours", WEIGHTS_HASH)
    failed = SlideRecord(slide="e", path="e.svs").failed("segment_tissue", "torn")
    write_manifest(manifest, [*read_manifest(manifest), ManifestRow(failed, None)])
    write_teacher(tmp_path / "teacher.safetensors", ENCODER, TOKEN_WIDTH, GRID)
    return tmp_path


def state_encoder(manifest: Path, name: str | None, weights: str | None) -> None:
    """Have all token files of a manifest name another patch encoder; None: they do not say."""
    for row in read_manifest(manifest):
        assert row.tokens
        with h5py.File(row.tokens, "r+") as file:
            for key, value in {"encoder": name, "encoder_sha256": weights}.items():
                file["features"].attrs.pop(key, None)
                if value:
                    file["features"].attrs[key] = value


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


def test_card_says_what_made_the_weights(cohort: Path) -> None:
    folder = export(cohort)
    card = (folder / "README.md").read_text()
    text = " ".join(card.split())
    lines = "".join(f"{slide} fingerprint-{slide}\n" for slide in N_REGIONS)
    for part in (
        sha256(folder / "region_encoder.safetensors"),
        hashlib.sha256(lines.encode()).hexdigest(),
        "4 of the 5 slides of the cohort, 24 regions",
        "slpd 0.0.7.",  # of the training, not of the export
        "24 px wide at 0.5 µm/px, a patch 4 px",
        f"`vit_of_ours` with weights of SHA-256 `{WEIGHTS_HASH}`",
        "L = L_self + 1 L_intra + 0.5 L_inter",
        "Commons Clause",
    ):
        assert part in text, part
    assert "/somewhere" not in card
    settings = yaml.safe_load(blocks(card, "yaml")[1])
    assert settings["region_encoder"] == ENCODER.model_dump()
    assert settings["training"] == TRAINING.model_dump()
    assert settings["objective"] == OBJECTIVE.model_dump()
    assert settings["prototypes"] == PROTOTYPES.model_dump()
    assert settings["slide_graph"] == SLIDE_GRAPH.model_dump()
    assert settings["regions"] == RECIPE.regions.model_dump()


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("uni_v1", None, "their files name the patch encoder `uni_v1` and no weights"),
        (None, None, "their files do not name the patch encoder"),
        ("vit_other", "6b" * 32, f"`vit_other` with weights of SHA-256 `{'6b' * 32}`"),
        ("vit_other", "random-7", "`vit_other` with random weights of seed 7"),
    ],
)
def test_card_of_imported_tokens_names_the_patch_encoder_that_they_state(
    tmp_path: Path, name: str | None, weights: str | None, words: str
) -> None:
    """Not the config's, which made none of them."""
    manifest = write_cohort(tmp_path)
    state_encoder(manifest, name, weights)
    write_teacher(tmp_path / "teacher.safetensors", ENCODER, TOKEN_WIDTH, GRID)
    folder = export(tmp_path)
    card = (folder / "README.md").read_text()
    assert words in " ".join(card.split())
    assert "vit_of_ours" not in card and WEIGHTS_HASH not in card
    stated = {"model": name, "sha256": weights, "patch_px": 4}
    assert json.loads((folder / "config.json").read_text())["patch_encoder"] == stated
    assert yaml.safe_load(blocks(card, "yaml")[1])["patch_encoder"] == stated


def test_variant_without_prototypes_is_described_as_such(cohort: Path) -> None:
    plain = OBJECTIVE.model_copy(update={"intra": 0, "inter": 0})
    recipe = RECIPE.model_copy(update={"objective": plain, "prototypes": None, "slide_graph": None})
    card = (export(cohort, recipe=recipe) / "README.md").read_text()
    assert "DINO (Caron et al., ICCV 2021), L = L_self\n" in card
    assert not yaml.safe_load(blocks(card, "yaml")[1]).keys() & {"prototypes", "slide_graph"}


def test_export_is_the_teacher_and_the_same_every_time(cohort: Path) -> None:
    folder, again = export(cohort), export(cohort, "again")
    for name in ("region_encoder.safetensors", "README.md", "config.json"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()
    assert (folder / "region_encoder.safetensors").read_bytes() == (cohort / "teacher.safetensors").read_bytes()


def test_the_hubs_own_library_reads_the_folder(cohort: Path) -> None:
    """Front matter as the hub's library understands it, and a config by which the weights load."""
    card = ModelCard.load(export(cohort, licence="cc-by-nc-4.0") / "README.md")
    assert (card.data.license, card.data.library_name) == ("cc-by-nc-4.0", "slpd")
    assert "research-use-only" in card.data.tags and card.text.lstrip().startswith("# Region encoder")
    folder = export(cohort)
    data = ModelCard.load(folder / "README.md").data.to_dict()
    assert data["license"] == "other" and data["license_name"] and data["license_link"] == "README.md#licence"
    assert "\n## Licence\n" in (folder / "README.md").read_text()
    config = json.loads((folder / "config.json").read_text())
    encoder = build_region_encoder(RegionEncoder.model_validate(config["region_encoder"]), config["token_width"])
    weights = folder / config["weights"]["file"]
    assert sha256(weights) == config["weights"]["sha256"]
    encoder.load_state_dict(load_file(weights))
    assert (config["region_px"], config["mpp"], config["grid"]) == (24, 0.5, GRID)
    assert config["patch_encoder"]["sha256"] == WEIGHTS_HASH and "/somewhere" not in json.dumps(config)


def test_snippet_of_the_card_runs_and_its_variant_is_valid(cohort: Path) -> None:
    folder = export(cohort)
    card = (folder / "README.md").read_text()
    (snippet,) = blocks(card, "python")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = f"{snippet}\nprint(tuple(vectors.shape))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"(1, {ENCODER.width})\n"
    (variant,) = yaml.safe_load(blocks(card, "yaml")[0])
    pretrained = Variant.model_validate(variant).pretrained
    assert pretrained is not None
    assert pretrained.sha256 == sha256(folder / pretrained.checkpoint)


def test_exported_encoder_serves_as_pretrained_also_under_the_released_names(cohort: Path) -> None:
    assert embed(cohort / "slides.csv", cohort / "teacher.safetensors") == 0
    bags = (cohort / "bags.h5").read_bytes()
    exported, released = export(cohort) / "region_encoder.safetensors", cohort / "vit4k.pth"
    stage("export_released", "--encoder", str(exported), "--out", str(released))
    for path in (exported, released):
        options = ["--encoder", ENCODER.model_dump_json(), "--sha256", sha256(path)]
        assert embed(cohort / "slides.csv", path, *options) == 0
        assert (cohort / "bags.h5").read_bytes() == bags


def test_hipt_finds_every_tensor_under_its_own_name(tmp_path: Path) -> None:
    """What HIPT's loading does: `teacher`, prefixes cut, then whatever fits by name into its vit4k."""
    write_teacher(tmp_path / "teacher.safetensors", HIPT, token_width=384, grid=16)
    stage("export_released", "--encoder", str(tmp_path / "teacher.safetensors"), "--out", str(tmp_path / "vit4k.pth"))
    content = torch.load(tmp_path / "vit4k.pth", map_location="cpu", weights_only=True)
    found = {
        name.replace("module.", "").replace("backbone.", ""): tensor for name, tensor in content["teacher"].items()
    }
    wanted = json.loads((ROOT / "tests/golden/parameters.json").read_text())["vit4k"]
    assert {name: list(tensor.shape) for name, tensor in found.items()} == wanted
    weights, _ = read_region_encoder(tmp_path / "teacher.safetensors")
    assert all(np.array_equal(found[name].numpy(), weights[name]) for name in wanted)


def test_versions_are_those_of_this_installation() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    versions = training_versions()
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert versions["numpy"] == np.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions.keys() - {"slpd", "torch", "numpy", "python"} == {"faiss-gpu"}

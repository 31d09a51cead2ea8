"""Absent patches: what stands in their places changes nothing, and complete regions stay as they are, bit for bit."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_training import (
    ENCODER,
    FLOAT32,
    GRID,
    JOBS,
    OBJECTIVE,
    TOKEN_WIDTH,
    TRAINING,
    pretrain_arguments,
    stage,
)

from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.learned.embeddings import read_embeddings
from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.method.schedules import StepRates
from slpd.method.views import ENOUGH, centre_crops, draw_crops
from slpd.models.network import Network
from slpd.models.region_encoder import RegionViT
from slpd.training.batches import Batches
from slpd.training.learner import Learner
from slpd.training.token_store import ResidentTokens

pytestmark = pytest.mark.torch

R = 16


def encoder() -> RegionViT:
    """Weights so large that attention tells patches apart."""
    network = Network(ENCODER, TOKEN_WIDTH)
    network.draw_weights(0)
    with torch.no_grad():
        for block in network.backbone.blocks:
            block.attn.qkv.weight *= 30
    return network.backbone


def some_absent(n: int, share: float = 0.4, grid: int = GRID, seed: int = 0) -> NDArray[np.bool_]:
    """(n, grid, grid) masks; every other region is complete."""
    present = np.random.default_rng(seed).random((n, grid, grid)) > share
    present[::2] = True
    return present


def tokens(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, GRID, GRID, TOKEN_WIDTH, generator=torch.Generator().manual_seed(seed))


def without(backbone: RegionViT, region: torch.Tensor, present: NDArray[np.bool_]) -> torch.Tensor:
    """(D,) of a region (rows, columns, width): absent patches are taken out of the sequence, and nothing is masked."""
    there = torch.from_numpy(np.concatenate([[True], present.ravel()]))
    x = backbone.placed(region[None], None)[:, there]
    for block in backbone.blocks:
        x = block(x, None, n_out=x.shape[1], seen=None)
    return backbone.norm(x[0, 0])


def test_a_region_is_embedded_as_if_absent_patches_were_not_in_the_sequence() -> None:
    backbone, given, present = encoder(), tokens(6), some_absent(6)
    with torch.no_grad():
        found = backbone(given, present=torch.from_numpy(present))
        expected = torch.stack([without(backbone, *pair) for pair in zip(given, present, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[1], backbone(given)[1], atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 1e4, float("nan"), float("inf")])
def test_what_stands_in_absent_places_changes_no_vector_gradient_or_attention(value: float) -> None:
    present = some_absent(6)
    mask = torch.from_numpy(present)
    results = []
    for given in (tokens(6), tokens(6).masked_fill(~mask[..., None], value)):
        backbone = encoder()
        vectors = backbone(given, present=mask)
        vectors.square().sum().backward()
        with torch.no_grad():
            attention = backbone.class_attention(given, mask)
        results.append([vectors.detach(), attention, *(p.grad for p in backbone.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    attention = results[0][1]
    assert not attention[~mask.flatten(1)[:, None].expand_as(attention)].any()
    assert (attention[mask.flatten(1)[:, None].expand_as(attention)] > 0).all()


def test_complete_regions_beside_others_keep_every_bit() -> None:
    backbone, given, mask = encoder(), tokens(6), torch.from_numpy(some_absent(6))
    with torch.no_grad():
        assert torch.equal(backbone(given, present=mask)[::2], backbone(given)[::2])
        assert torch.equal(backbone.class_attention(given, mask)[::2], backbone.class_attention(given)[::2])


# ---- views ----


def n_present(present: NDArray[np.bool_], top: int, left: int, size: int) -> int:
    return int(present[top : top + size, left : left + size].sum())


def test_crops_of_complete_regions_stay_and_others_have_patches_enough() -> None:
    size, grid, n = 3, 8, 400
    present = some_absent(n, 0.8, grid)
    present[1::4, :, 3:] = False  # the right half is empty
    present[1, :, :] = False
    present[1, 7, 7] = True
    plain = draw_crops(np.random.default_rng(3), 5, n, size, grid)
    found = draw_crops(np.random.default_rng(3), 5, n, size, grid, present)
    assert np.array_equal(found.mirrored, plain.mirrored)
    assert np.array_equal(found.top[:, ::2], plain.top[:, ::2])
    assert np.array_equal(found.left[:, ::2], plain.left[:, ::2])
    for region in range(1, n, 2):
        corners = [(top, left) for top in range(grid - size + 1) for left in range(grid - size + 1)]
        most = max(n_present(present[region], *corner, size) for corner in corners)
        for view in range(5):
            corner = int(found.top[view, region]), int(found.left[view, region])
            assert n_present(present[region], *corner, size) >= ENOUGH * most
    assert (found.top[:, 1].tolist(), found.left[:, 1].tolist()) == ([5] * 5, [5] * 5)


def test_all_corners_with_enough_patches_are_equally_likely() -> None:
    n, size, grid = 20_000, 2, 4
    present = np.zeros((n, grid, grid), bool)
    present[:, :2] = True  # the crops of the two upper rows have 4 and 2 patches, those of the third none
    crops = draw_crops(np.random.default_rng(0), 1, n, size, grid, present)
    counts = np.unique(crops.top * 3 + crops.left, return_counts=True)
    assert counts[0].tolist() == list(range(6))
    np.testing.assert_allclose(counts[1] / n, 1 / 6, atol=0.012)


def test_draws_that_follow_are_the_same() -> None:
    generators = [np.random.default_rng(0), np.random.default_rng(0)]
    draw_crops(generators[0], 2, R, 3, GRID)
    draw_crops(generators[1], 2, R, 3, GRID, some_absent(R))
    assert generators[0].random() == generators[1].random()


def test_the_centre_crop_moves_to_where_patches_are() -> None:
    present = np.ones((3, 6, 6), bool)
    present[1, 1:5, 1:5] = False
    present[1, :2, 2:] = True
    present[2, 2, 2] = False  # the centre has enough
    crops = centre_crops(3, 2, 6, present)
    corners = list(zip(crops.top[0].tolist(), crops.left[0].tolist(), strict=True))
    assert corners[0] == corners[2] == (2, 2)
    assert n_present(present[1], *corners[1], 2) == 4
    assert corners[1][0] == 0
    assert corners[1][1] in (2, 3)  # of the full ones, one nearest to the centre


# ---- training ----


def steps(present: NDArray[np.bool_] | None, given: torch.Tensor) -> list[torch.Tensor]:
    """Losses of two steps, and the student's weights after them."""
    batches = Batches(ResidentTokens(given, np.arange(R)), R, ENCODER, TRAINING, GRID, present)
    objective = OBJECTIVE.model_copy(update={"intra": 0, "inter": 0})
    learner = Learner(ENCODER, TRAINING, objective, TOKEN_WIDTH, FLOAT32, regions_at_once=3)
    rates = StepRates(0.01, 0.1, 0.9)
    values = [learner.step(batch, rates, freeze_last_layer=False) for batch in batches.batches_from(0, 0)]
    return [*values, *learner.student.state_dict().values()]


def test_steps_depend_on_present_patches_alone() -> None:
    present, given = some_absent(R), tokens(R)
    mask = torch.from_numpy(present)[..., None]
    expected = steps(present, given)
    for value in (float("nan"), 0.0):
        found = steps(present, given.masked_fill(~mask, value))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not torch.equal(steps(None, given)[0], expected[0])


def test_steps_on_complete_regions_are_those_without_a_mask() -> None:
    found, expected = steps(np.ones((R, GRID, GRID), bool), tokens(R)), steps(None, tokens(R))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def write_sparse_cohort(folder: Path, fill: float | None) -> Path:
    """Token files of three slides, `a` complete, two with `fill` in absent places (None: any value); their manifest."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for slide, n in {"a": 5, "b": 6, "c": 7}.items():
        features, present = rng.normal(size=(n, GRID**2, TOKEN_WIDTH)), rng.random((n, GRID**2)) > 0.3
        present |= slide == "a"
        half = features.astype(np.float16)
        if fill is not None:
            half[~present] = fill
        source = TokenSource(slide, f"fingerprint-{slide}", "encoder", "random-0", "openslide", 4, 24, 24, 1, 1, 1, 1)
        write_tokens(folder / f"{slide}.h5", half, np.arange(2 * n).reshape(n, 2), source, present=present)
        rows.append(ManifestRow(SlideRecord(slide=slide, path=slide), folder / f"{slide}.h5"))
    write_manifest(folder / "slides.csv", rows)
    return folder / "slides.csv"


@pytest.fixture(scope="module", params=["device", "disk"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What stages make of a cohort, with different values in absent places, from memory and from files."""
    made = {}
    for name, fill in {"any": None, "nan": np.nan}.items():
        folder = tmp_path_factory.mktemp("sparse") / name
        manifest, out = write_sparse_cohort(folder, fill), folder / "out"
        jobs = JOBS.model_copy(update={"tokens": request.param})
        stage("pretrain_dino", *pretrain_arguments(manifest, out, jobs=jobs))
        teacher = ("--manifest", str(manifest), "--teacher", f"{out}.safetensors")
        stage("attend_patches", *teacher, "--out", f"{folder}/attention.h5")
        stage("embed_bags", *teacher, "--out", f"{folder}/bags.h5")
        stage("pool_tokens", "--manifest", str(manifest), "--out", f"{folder}/means.h5")
        made[name] = folder
    return made


def test_stages_depend_on_present_patches_alone(trained: dict[str, Path]) -> None:
    any_, nan = trained["any"], trained["nan"]
    embeddings = [read_embeddings(folder / "out.h5") for folder in (any_, nan)]
    assert np.array_equal(embeddings[0].bottleneck, embeddings[1].bottleneck)
    assert np.array_equal(embeddings[0].region_vector, embeddings[1].region_vector)
    for name in ("bags.h5", "means.h5"):
        first, second = (read_bags(folder / name) for folder in (any_, nan))
        assert all(np.array_equal(first[slide], second[slide]) for slide in "abc")
    with open_patch_attention(any_ / "attention.h5") as first, open_patch_attention(nan / "attention.h5") as second:
        assert np.array_equal(first.attention[:], second.attention[:], equal_nan=True)


def test_means_and_attention_are_of_present_patches(trained: dict[str, Path]) -> None:
    folder = trained["nan"]
    means = read_bags(folder / "means.h5")
    with open_patch_attention(folder / "attention.h5") as found:
        attention, offsets = found.attention[:], found.offsets
    for number, slide in enumerate("abc"):
        with h5py.File(folder / f"{slide}.h5") as file:
            features = file["features"][:].astype(np.float64)
            present = file["present"][:] if slide != "a" else np.ones(features.shape[:2], bool)
            assert ("present" in file) == (slide != "a")
        expected = [region[here].mean(axis=0) for region, here in zip(features, present, strict=True)]
        np.testing.assert_allclose(means[slide], expected, rtol=1e-3, atol=1e-4)
        of_slide = attention[offsets[number] : offsets[number + 1]]
        assert np.array_equal(np.isnan(of_slide), np.broadcast_to(~present[:, None], of_slide.shape))

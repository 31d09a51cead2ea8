"""A cohort of token files goes from the sheet to the table and the report without a slide."""

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import patch_files
import pytest
import rerun_table
import toy
import yaml
from numpy.typing import NDArray

from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.versions import RESULT_VERSIONS

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import planned_jobs

pytestmark = pytest.mark.workflow


STEP, SIDE = 32, 16  # level-0 px of a patch: 16 px at 20x of a slide of 40x; patches along a region's side


def write_features(path: Path, rng: np.random.Generator) -> None:
    """Features as TRIDENT writes them, of a disc of tissue with a hole."""
    corners = patch_files.disc(40, STEP, hole=6)
    features = rng.normal(size=(len(corners), 24)).astype(np.float32)
    patch_files.write_trident(path, features, corners, patch_files.trident_attributes(16, 40, 20.0))


def patches_of_regions(corners: NDArray[np.int64]) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """Region corner -> corners of its patches, of regions with half of them, from the definition."""
    regions: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for x, y in corners.tolist():
        side = SIDE * STEP
        regions.setdefault((x // side * side, y // side * side), set()).add((x, y))
    return {corner: patches for corner, patches in regions.items() if len(patches) >= SIDE**2 / 2}


def covered(geometry: dict[str, list[list[list[list[int]]]]]) -> float:
    """Area of a MultiPolygon: exteriors less holes."""
    total = 0.0
    for exterior, *holes in geometry["coordinates"]:
        for sign, ring in ((1, exterior), *((-1, hole) for hole in holes)):
            x, y = np.array(ring, float).T
            total += sign * abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    return total


def check_absent_patches(folder: Path, slide: str) -> None:
    """Attention and exports of a slide of patch features have its patches alone."""
    with h5py.File(folder / f"{slide}.h5") as file:
        expected = patches_of_regions(file["coords"][:])
    results = folder / "results/toy"
    with h5py.File(results / f"cohorts/toy/tokens/{slide}.h5") as file:
        corners, present = file["coords"][:], file["present"][:]
    assert {tuple(corner) for corner in corners.tolist()} == expected.keys()
    counts = [len(expected[tuple(corner)]) for corner in corners.tolist()]
    assert present.sum(axis=1).tolist() == counts
    with open_patch_attention(results / "cohorts/toy/variants/slpd/patch_attention.h5") as found:
        start = int(found.offsets[found.slides.index(slide)])
        attention = found.attention[start : start + len(corners)]
    assert np.array_equal(np.isnan(attention), np.broadcast_to(~present[:, None], attention.shape))
    (export,) = (results / "report/exports/toy/slpd").glob(f"*_{slide}.geojson")
    tiles = [tile["geometry"] for tile in json.loads(export.read_text())["features"]]
    assert [covered(tile) for tile in tiles if tile["type"] == "MultiPolygon"] == [
        n * STEP**2 for n in counts if n < SIDE**2
    ]
    assert any(tile["type"] == "Polygon" for tile in tiles) == (SIDE**2 in counts)


def test_a_cohort_of_token_files_needs_no_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lines = ["slide,path,patient,mpp,dx"]
    for i in range(9):
        if i > 2:
            write_features(tmp_path / f"t{i}.h5", rng)
        else:
            with h5py.File(tmp_path / f"t{i}.h5", "w") as file:
                file["features"] = rng.normal(size=(6, 256, 24)).astype(np.float32)
                file["coords"] = np.stack([np.arange(6) * 4096] * 2, 1)
        lines.append(f"t{i},t{i}.h5,p{i},,{'ab'[i % 2]}")
    (tmp_path / "slides.csv").write_text("\n".join(lines) + "\n")
    config = toy.one_variant()
    config["patch_encoder"] |= {"checkpoint": "weights/absent.pth", "sha256": "0" * 64}  # nothing is encoded
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    plan = toy.planned(tmp_path)
    assert plan["import_tokens"] == 1
    assert not plan.keys() & {"segment_tissue", "tile_regions", "check_cohort", "encode_patches"}
    run = toy.snakemake(tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((tmp_path / "results/toy/runs").glob("*.json"))) == 1
    with open(tmp_path / "results/toy/tables/toy.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2  # heads, metrics
    check_absent_patches(tmp_path, "t5")
    assert toy.planned(tmp_path) == {}
    sheet = (tmp_path / "slides.csv").read_text()
    (tmp_path / "slides.csv").write_text(sheet.replace("t0,t0.h5,p0,,a", "t0,t0.h5,p0,,b"))
    assert "import_tokens" not in toy.planned(tmp_path)  # a label is nothing to import anew
    (tmp_path / "slides.csv").write_text(sheet)
    monkeypatch.setitem(RESULT_VERSIONS, "import_tokens", RESULT_VERSIONS["import_tokens"] + 1)
    config = ["--configfile", str(tmp_path / "toy.yaml")]
    every = {job.rule for job in planned_jobs([*config, "--forceall"], tmp_path)}
    raised = {job.rule for job in planned_jobs(config, tmp_path)}
    assert raised == rerun_table.after(["import_tokens"]) & every

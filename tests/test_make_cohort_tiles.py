"""Cohorts out of tiles: groups stay inside one slide, tiles are plain copies, a bad folder is named."""

import argparse
import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import yaml
from PIL import Image

from slpd.artifacts.slides.sheet import read_sheet
from slpd.errors import UserError
from slpd.settings.synthetic import TileCohort
from slpd.stages import make_cohort
from slpd.synthetic.mosaic import GLASS, grid_cells, lay_mosaic
from slpd.synthetic.tile_cohort import plan_tiles
from slpd.synthetic.tile_folder import TileGroup, read_tile_groups

TRIAL = Path(__file__).parents[1] / "config" / "trial_cohort.yaml"
LUNG = Path(__file__).parents[2] / "shared" / "data" / "lung-tiles"
TILE_PX = 32
SETTINGS: dict[str, Any] = yaml.safe_load(TRIAL.read_text(encoding="utf-8")) | {
    "slides_per_class": 2,
    "classes": {"aca": {"lung_aca": 1, "lung_scc": 1, "lung_n": 1}, "scc": {"lung_scc": 2, "lung_n": 1}},
    "tile_px": TILE_PX,
}
LABELS = {"lung_aca": 4, "lung_scc": 6, "lung_n": 6}  # groups of each


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tile folder with groups of one to three tiles, each of one colour."""
    out = tmp_path / "tiles"
    lines = [("file", "label", "source_tile_cluster")]
    for hue, (label, n_groups) in enumerate(LABELS.items()):
        (out / label).mkdir(parents=True)
        for group in range(n_groups):
            for tile in range(3 - group % 3):
                name = f"{label}/{group}-{tile}.png"
                Image.new("RGB", (TILE_PX, TILE_PX), (40 + 60 * hue, 40 + 20 * group, 40 + 20 * tile)).save(out / name)
                lines.append((name, label, f"{label}-{group}"))
    write_manifest(out, lines)
    return out


def write_manifest(folder: Path, lines: list[tuple[str, ...]]) -> None:
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def read_manifest(folder: Path) -> list[tuple[str, ...]]:
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
        return [tuple(line) for line in csv.reader(file)]


def make(folder: Path, **changes: object) -> Path:
    config, out = folder.parent / "cohort.yaml", folder.parent / "cohort"
    config.write_text(yaml.safe_dump(SETTINGS | changes), encoding="utf-8")
    make_cohort.run(argparse.Namespace(config=config, out=out, tiles=folder))
    return out


def test_sheet_and_slides(folder: Path) -> None:
    rows = read_sheet(make(folder) / "slides.csv")
    assert sorted(row.labels["subtype"] for row in rows) == ["aca", "aca", "scc", "scc"]
    assert len({row.patient for row in rows}) == 4
    for row in rows:
        with openslide.OpenSlide(row.path) as slide:
            assert float(slide.properties["openslide.mpp-x"]) == 0.5


def test_finished_cohort_is_left_alone_until_tiles_change(folder: Path) -> None:
    out = make(folder)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tiff")}
    make(folder)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tiff")} == before
    write_manifest(folder, read_manifest(folder)[:-1])
    make(folder)
    assert not set(before.items()) & {(path, path.stat().st_mtime_ns) for path in out.rglob("*.tiff")}


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_in_two_slides_and_each_has_the_shares_of_its_class(seed: int) -> None:
    groups = [TileGroup(f"{label}-{i}", label, ("x",)) for label, n in LABELS.items() for i in range(n)]
    settings = TileCohort.model_validate(SETTINGS | {"seed": seed})
    planned = plan_tiles(settings, groups)
    given = [group for slide in planned for group in slide.groups]
    assert len(set(given)) == len(given) == 4 * 3
    for slide in planned:
        assert Counter(group.rsplit("-", 1)[0] for group in slide.groups) == settings.classes[slide.label]


def test_mosaic_holds_every_tile_once_and_nothing_but_tiles_and_glass(folder: Path) -> None:
    rng = np.random.default_rng(3)
    tiles = {
        "tumour": [np.full((48, 48, 3), (10 + i, 90, 160), np.uint8) for i in range(30)],
        "benign": [np.full((48, 48, 3), (10 + i, 150, 60), np.uint8) for i in range(12)],
    }
    rgb, squares = lay_mosaic(tiles, rng)
    colours, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
    laid = {tuple(colour): count for colour, count in zip(colours.tolist(), counts.tolist(), strict=True)}
    glass = {colour: laid.pop(colour) for colour in list(laid) if min(colour) > GLASS - 10}
    assert laid.keys() == {tuple(tile[0, 0].tolist()) for of_kind in tiles.values() for tile in of_kind}
    assert max(laid.values()) == 48 * 48  # inner tiles are whole
    assert min(laid.values()) > 48 * 48 / 4  # worn corners leave most of an outer tile
    assert sum(glass.values()) > 0.3 * sum(counts)
    for square in squares:
        centre = rgb[square.y_lv0 + square.side_lv0 // 2, square.x_lv0 + square.side_lv0 // 2]
        assert any((centre == tile[0, 0]).all() for tile in tiles[square.kind])


def test_tiles_keep_their_pixels() -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 200, (16, 16, 3), dtype=np.uint8) for _ in range(40)]
    rgb, _ = lay_mosaic({"tumour": tiles}, rng)
    cells = {rgb[y : y + 16, x : x + 16].tobytes() for y in range(0, len(rgb), 16) for x in range(0, rgb.shape[1], 16)}
    assert sum(tile.tobytes() in cells for tile in tiles) > 10  # those that no edge touches


@pytest.mark.parametrize("n_tiles", [1, 5, 72, 100])
def test_grid_has_a_cell_for_every_tile_and_a_border(n_tiles: int) -> None:
    cells = grid_cells(n_tiles, np.random.default_rng(1))
    assert np.count_nonzero(cells) == n_tiles
    assert not (cells[[0, -1]].any() or cells[:, [0, -1]].any())


def test_too_few_groups_are_counted(folder: Path) -> None:
    with pytest.raises(UserError, match=r"label lung_scc has 6 groups, 9 are needed; lower slides_per_class"):
        make(folder, slides_per_class=3)


def test_unknown_label_is_named_with_those_there(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no tile with label 'lung_x'.*: lung_aca, lung_n, lung_scc"):
        make(folder, classes={"aca": {"lung_x": 1}, "scc": {"lung_scc": 1}})


def test_missing_folder_and_manifest_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"tile manifest .*none/manifest.csv: no such file; write it with the columns"):
        make(folder.parent / "none")
    (folder / "manifest.csv").unlink()
    with pytest.raises(UserError, match=r"manifest\.csv: no such file"):
        make(folder)


def test_faults_of_a_manifest_are_named(folder: Path) -> None:
    lines = read_manifest(folder)
    faults = [
        ([("file", "label", "group"), *lines[1:]], "no column 'source_tile_cluster'"),
        ([*lines, ("none.png", "lung_n", "g")], r"line \d+: no tile .*none.png"),
        ([*lines, lines[-1]], "is listed twice"),
        ([*lines[:-1], (lines[-1][0], "lung_aca", "lung_n-0")], "group lung_n-0 has labels lung_n and lung_aca"),
        ([*lines[:-1], (lines[-1][0], "lung_n", "")], "an empty cell"),
    ]
    for changed, message in faults:
        write_manifest(folder, changed)
        with pytest.raises(UserError, match=message):
            read_tile_groups(folder)


def test_tiles_of_another_size_or_broken_are_named(folder: Path) -> None:
    for tile in folder.rglob("*.png"):
        Image.new("RGB", (30, 32)).save(tile)
    with pytest.raises(UserError, match=r"\.png: 30 x 32 px, not tile_px = 32"):
        make(folder)
    for tile in folder.rglob("*.png"):
        tile.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"\.png: cannot be read"):
        make(folder)


@pytest.mark.skipif(not LUNG.is_dir(), reason="no lung tiles here")
def test_trial_plan_fits_the_lung_tiles() -> None:
    settings = make_cohort.read_settings(TRIAL, LUNG)
    assert isinstance(settings, TileCohort)
    groups = {group.name: group for group in read_tile_groups(LUNG)}
    planned = plan_tiles(settings, list(groups.values()))
    files = [file for slide in planned for name in slide.groups for file in groups[name].files]
    assert len(planned) >= 40
    assert len(set(files)) == len(files)
    assert len(files) > 0.9 * sum(len(group.files) for group in groups.values())

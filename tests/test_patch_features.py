"""Files of patch features, as TRIDENT and CLAM write them, become regions; what is missing or contradicts is named."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import patch_files
import pytest
import torch
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.checksums import damaged_slides
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import read_coords, read_present, read_source, read_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord, read_records

pytestmark = pytest.mark.torch

Import = Callable[..., dict[str, SlideRecord]]
SIDE, STEP, WIDTH = 4, 512, 6
TRIDENT = patch_files.trident_attributes(256, 40, 20.0)


def drawn(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports the files of `theirs`; with µm/px in the sheet for slides that are named."""

    def imported(min_tissue: float = 0.5, **mpp: float) -> dict[str, SlideRecord]:
        files = sorted((tmp_path / "theirs").iterdir())
        lines = [f"{path.stem},{path},p{path.stem},{mpp.get(path.stem, '')}" for path in files]
        (tmp_path / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp", *lines]) + "\n")
        argv = ["--sheet", str(tmp_path / "sheet.csv"), "--version", "1", "--grid", str(SIDE), "--patch-px", "256"]
        argv += ["--mpp", "0.5", "--min-tissue", str(min_tissue), "--tokens-dir", str(tmp_path / "tokens")]
        monkeypatch.setattr("sys.argv", ["slpd", "import_tokens", *argv, "--out", str(tmp_path / "imported.json")])
        assert main() == 0
        return {record.slide: record for record in read_records(tmp_path / "imported.json")}

    (tmp_path / "theirs").mkdir()
    return imported


def check_tokens(path: Path, features: NDArray[np.floating], corners: NDArray[np.int64], step: int = STEP) -> None:
    """Every present place of every region has the features of the patch whose corner it is; no other patch is there."""
    tokens, present, regions = read_tokens(path), read_present(path), read_coords(path)
    of_corner = {tuple(corner): row for corner, row in zip(corners.tolist(), features.astype(np.float16), strict=True)}
    for region, (x, y) in enumerate(regions.tolist()):
        for place in range(SIDE**2):
            row = of_corner.get((x + place % SIDE * step, y + place // SIDE * step))
            assert (present is None or present[region, place]) == (row is not None)
            assert np.array_equal(tokens[region, place], np.zeros(WIDTH) if row is None else row)


def write_torch(path: Path, features: NDArray[np.floating], corners: NDArray[np.int64], **attributes: object) -> None:
    torch.save({"features": torch.tensor(features), "coords": torch.tensor(corners), **attributes}, path)


def test_tridents_files_become_regions(run: Import, tmp_path: Path) -> None:
    corners, theirs = patch_files.disc(14, STEP, hole=3), tmp_path / "theirs"
    features = {slide: drawn(len(corners), seed) for seed, slide in enumerate("abcd")}
    shuffled = np.random.default_rng(1).permutation(len(corners))
    patch_files.write_trident(theirs / "a.h5", features["a"], corners, TRIDENT)
    patch_files.write_trident(theirs / "b.h5", features["b"][None], corners, TRIDENT | {"savetodir": "None"})
    patch_files.write_trident(theirs / "c.h5", features["c"][shuffled], corners[shuffled], TRIDENT)
    write_torch(theirs / "d.pt", features["d"][None].astype(np.float16), corners[None], **TRIDENT)
    records = run(a=0.2527)
    for slide, record in records.items():
        assert record.status == "ok", record.reason
        check_tokens(tmp_path / f"tokens/{slide}.h5", features[slide], corners)
        assert (record.region_px, record.region_lv0, record.requested_mpp) == (1024, 2048, 0.5)
    assert records["a"].slide_mpp == 0.2527
    assert records["a"].effective_mpp == pytest.approx(0.5054)
    assert (records["b"].slide_mpp, records["b"].effective_mpp) == (0.25, 0.5)
    source = read_source(tmp_path / "tokens/a.h5")
    assert (source.encoder, source.patch_px, source.region_lv0) == ("uni_v1", 256, 2048)
    n_patches = Counter(map(tuple, (corners // (SIDE * STEP)).tolist()))
    assert records["a"].n_regions == sum(n >= SIDE**2 / 2 for n in n_patches.values())
    assert records["a"].n_little_tissue == sum(n < SIDE**2 / 2 for n in n_patches.values())
    present = read_present(tmp_path / "tokens/a.h5")
    assert present is not None
    assert present.sum() == sum(n for n in n_patches.values() if n >= SIDE**2 / 2)


def test_files_that_name_two_encoders_are_not_one_cohort(
    run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one width, so that nothing else tells them apart."""
    corners = patch_files.disc(10, STEP)
    for slide, encoder in {"a": "uni_v1", "b": "phikon_v2"}.items():
        path = tmp_path / f"theirs/{slide}.h5"
        patch_files.write_trident(path, drawn(len(corners), ord(slide)), corners, TRIDENT)
        with h5py.File(path, "r+") as file:
            file["features"].attrs["encoder"] = encoder
    with pytest.raises(AssertionError, match="2 == 0"):
        run()
    assert "has tokens of phikon_v2, others of uni_v1; a cohort needs one encoder" in capsys.readouterr().err


def test_every_contour_of_clam_has_regions_of_its_own(run: Import, tmp_path: Path) -> None:
    """Without attributes: the sheet tells µm per pixel, the patches their distance, which is near what that makes."""
    starts = np.array([[37, 1003], [20_011, 555], [9_000, 30_001]])
    corners = np.concatenate([patch_files.disc(9, STEP)[:, ::-1] + start for start in starts])
    features = drawn(len(corners))
    patch_files.write_clam(tmp_path / "theirs/a.h5", features, corners)
    record = run(min_tissue=0.25, a=0.2527)["a"]
    assert record.status == "ok", record.reason
    check_tokens(tmp_path / "tokens/a.h5", features, corners)
    found = read_coords(tmp_path / "tokens/a.h5")
    assert {tuple(start) for start in starts.tolist()} <= {tuple(corner) for corner in found.tolist()}
    assert record.region_lv0 == SIDE * STEP


def test_only_files_with_absent_patches_have_a_mask(run: Import, tmp_path: Path) -> None:
    whole = patch_files.disc(100, STEP)
    whole = whole[(whole // STEP >= 40).all(axis=1) & (whole // STEP < 48).all(axis=1)]
    some, seeds = patch_files.disc(9, STEP), range(2)
    for slide, corners, seed in zip("ab", (whole, some), seeds, strict=True):
        patch_files.write_trident(tmp_path / f"theirs/{slide}.h5", drawn(len(corners), seed), corners, TRIDENT)
    records = run()
    assert read_present(tmp_path / "tokens/a.h5") is None
    rows = [ManifestRow(record, tmp_path / f"tokens/{slide}.h5") for slide, record in records.items()]
    write_manifest(tmp_path / "slides.csv", rows)
    cohort = open_cohort_tokens(tmp_path / "slides.csv")
    assert cohort.present is not None
    assert cohort.present[:4].all()
    assert np.array_equal(cohort.present[4:].reshape(-1, SIDE**2), read_present(tmp_path / "tokens/b.h5"))
    write_manifest(tmp_path / "slides.csv", rows[:1])
    assert open_cohort_tokens(tmp_path / "slides.csv").present is None


def test_what_is_there_is_not_written_again(run: Import, tmp_path: Path) -> None:
    """Values are read again: of copies, and of what the log says. Whatever changed on the disk is written anew."""
    corners, ours = patch_files.disc(9, STEP), tmp_path / "tokens/a.h5"
    patch_files.write_trident(tmp_path / "theirs/a.h5", drawn(len(corners)), corners, TRIDENT)
    first = run()
    written, content = ours.stat().st_mtime_ns, ours.read_bytes()
    assert run() == first
    assert ours.stat().st_mtime_ns == written
    with h5py.File(ours, "r+") as file:
        file["present"][0, 0] ^= True
    assert damaged_slides(ours) == ["a"]
    assert run() == first
    assert ours.read_bytes() == content


@pytest.mark.parametrize("slide", ["a", "renamed"])
def test_absent_patches_of_our_own_files_stay_absent(run: Import, tmp_path: Path, slide: str) -> None:
    """Of the same slide the file is linked, of another it is written anew."""
    corners, theirs, ours = patch_files.disc(9, STEP), tmp_path / "theirs", tmp_path / "tokens"
    patch_files.write_trident(theirs / "a.h5", drawn(len(corners)), corners, TRIDENT)
    run()
    present = read_present(ours / "a.h5")
    assert present is not None
    (ours / "a.h5").rename(theirs / "a.h5").rename(theirs / f"{slide}.h5")
    for _ in range(2):
        assert run()[slide].status == "ok"
        assert np.array_equal(present, read_present(ours / f"{slide}.h5"))
        assert (ours / f"{slide}.h5").samefile(theirs / f"{slide}.h5") == (slide == "a")


def test_another_share_of_patches_makes_other_tokens(run: Import, tmp_path: Path) -> None:
    corners = patch_files.disc(9, STEP)
    patch_files.write_trident(tmp_path / "theirs/a.h5", drawn(len(corners)), corners, TRIDENT)
    counts, fingerprints = [], set()
    for min_tissue in (0.1, 0.9, 0.9):
        counts.append(run(min_tissue)["a"].n_regions)
        fingerprints.add(read_source(tmp_path / "tokens/a.h5").fingerprint)
    assert counts[0] > counts[1] == counts[2]
    assert len(fingerprints) == 2


DISC = patch_files.disc(9, STEP)
EVERY_OTHER = DISC * 2
ZEROS = np.concatenate([drawn(len(DISC) // 2), np.zeros((len(DISC) - len(DISC) // 2, WIDTH), np.float32)])


@pytest.mark.parametrize(
    ("features", "corners", "attributes", "mpp", "message"),
    [
        (drawn(len(DISC)), DISC, {}, None, "µm per level-0 pixel is not known: coords have no attribute level0_mag"),
        (drawn(len(DISC)), DISC, TRIDENT | {"level0_magnification": "None"}, None, "µm per level-0 pixel is not known"),
        (drawn(len(DISC)), DISC, TRIDENT | {"overlap": 64}, None, "patches overlap by 64 px, expected overlap 0"),
        (drawn(len(DISC)), DISC // 2, TRIDENT, None, "256 level-0 px apart and 512 wide: they overlap"),
        (drawn(len(DISC)), EVERY_OTHER, TRIDENT, None, "1024 level-0 px apart and 512 wide: they leave gaps"),
        (
            drawn(2 * len(DISC)),
            np.concatenate([DISC, DISC + np.array([200, 300])]),
            TRIDENT,
            None,
            f"{2 * len(DISC)} of {2 * len(DISC)} patches lie partly on others: coords of two grids are in one file",
        ),
        (drawn(len(DISC)), DISC, {}, 0.5, "512 level-0 px apart, but 256 px (patch_encoder.patch_px) at 0.5 µm/px"),
        (drawn(len(DISC)), DISC // 2, {}, 0.25, "they overlap, or are of another size or magnification"),
        (
            drawn(len(DISC)),
            DISC * 2,
            patch_files.trident_attributes(512, 40, 20.0),
            None,
            "patch_size is 512 px, but patch_encoder.patch_px is 256; set it to 512, and regions.region_px to 4 times",
        ),
        (
            drawn(len(DISC)),
            DISC * 2,
            patch_files.trident_attributes(256, 40, 10.0),
            None,
            "target_magnification is 10, 1 µm/px, but regions.mpp is 0.5",
        ),
        (drawn(len(DISC)), DISC, TRIDENT, 0.5, "level0_magnification is 40, about 0.25 µm/px, but the sheet's mpp is"),
        (
            drawn(len(DISC)),
            DISC,
            TRIDENT | {"patch_size_level0": 256},
            None,
            "patch_size_level0 is 256, but patch_size",
        ),
        (drawn(len(DISC)), DISC, TRIDENT | {"patch_size": -256}, None, "patch_size is -256"),
        (drawn(len(DISC)), DISC - 512, TRIDENT, None, "coords are negative"),
        (drawn(len(DISC)), DISC[::-1] * 0, TRIDENT, None, "two patches have the same coords"),
        (
            drawn(len(DISC)),
            DISC[1:],
            TRIDENT,
            None,
            f"coords are ({len(DISC) - 1}, 2) int64, expected ({len(DISC)}, 2)",
        ),
        (drawn(WIDTH), patch_files.disc(3, STEP)[:4], TRIDENT, None, "coords are (4, 2) int64, expected (6, 2)"),
        (drawn(4), DISC[:4], TRIDENT, None, "of 4 patches no region of 4 x 4 has 50 % (regions.min_tissue)"),
        (np.zeros((0, WIDTH), np.float32), DISC[:0], TRIDENT, None, "features are (0, 6): no patches"),
        (ZEROS, DISC, TRIDENT, None, "regions hold zeros alone, as files of extractions that were killed do"),
        (np.ones((len(DISC), WIDTH), np.float32), DISC, TRIDENT, None, "regions hold one token throughout"),
        (np.tile(drawn(7), (10, 1))[: len(DISC)], DISC, TRIDENT, None, "patches repeat another patch"),
        (drawn(len(DISC)) * 1e-9, DISC, TRIDENT, None, "regions vary by less than float16 can express"),
        (drawn(len(DISC)) + 7e4, DISC, TRIDENT, None, "has features that are not finite or beyond 65504"),
        (drawn(len(DISC))[:, None], DISC, TRIDENT, None, "one patch is no region, these are single patches"),
        (drawn(len(DISC)).astype(int), DISC, TRIDENT, None, "features are int64, expected floating point numbers"),
    ],
)
def test_what_is_missing_or_contradicts_is_named(
    run: Import,
    tmp_path: Path,
    features: NDArray[np.floating],
    corners: NDArray[np.int64],
    attributes: dict[str, Any],
    mpp: float | None,
    message: str,
) -> None:
    path = tmp_path / "theirs/bad.h5"
    patch_files.write_trident(path, features, corners, attributes)
    record = run(**({"bad": mpp} if mpp else {}))["bad"]
    assert record.status == "failed"
    assert f"slide bad: token file {path}: " in record.reason
    assert message in record.reason
    assert not list((tmp_path / "tokens").glob("*"))


def test_features_without_places_name_the_file_that_has_them(run: Import, tmp_path: Path) -> None:
    """CLAM's `pt_files` are bare tensors."""
    torch.save(torch.tensor(drawn(90)), tmp_path / "theirs/bad.pt")
    assert "features are (90, 6): single patches without coords have no places" in run()["bad"].reason

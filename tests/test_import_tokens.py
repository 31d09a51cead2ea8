"""import_tokens: token files of other programs go the way of our own, and what cannot is said by name."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.checksums import damaged_slides
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import (
    Quality,
    TokenSource,
    read_coords,
    read_quality,
    read_source,
    read_tokens,
    write_tokens,
)
from slpd.artifacts.slides.slide_record import SlideRecord, read_records

pytestmark = pytest.mark.torch

Import = Callable[..., tuple[int, dict[str, SlideRecord]]]

SIDE, WIDTH = 16, 12
TRIDENT = {"patch_size": 4096, "patch_size_level0": 8192, "level0_magnification": 40, "target_magnification": 20}


def tokens(n_regions: int, seed: int = 0) -> NDArray[np.float32]:
    """(N, P, D) tokens."""
    return np.random.default_rng(seed).normal(size=(n_regions, SIDE**2, WIDTH)).astype(np.float32)


def as_images(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, P, D) -> (N, D, side, side)."""
    return features.reshape(-1, SIDE, SIDE, WIDTH).transpose(0, 3, 1, 2).copy()


def corners(n_regions: int) -> NDArray[np.int64]:
    return np.stack([np.arange(n_regions) * 8192, np.arange(n_regions) * 4096], 1)


def write_h5(path: Path, features: NDArray[np.float32], coords: NDArray[np.int64] | None, **attributes: object) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = features
        if coords is not None:
            file["coords"] = coords
            file["coords"].attrs.update(attributes)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports the files of a folder, slide ids their stems, each of a patient of its own or all of one."""

    def imported(patient: str = "", **mpp: float) -> tuple[int, dict[str, SlideRecord]]:
        files = sorted((tmp_path / "theirs").iterdir())
        lines = [f"{path.stem},{path},{patient or 'p' + path.stem},{mpp.get(path.stem, '')}" for path in files]
        (tmp_path / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp", *lines]) + "\n")
        argv = ["--sheet", str(tmp_path / "sheet.csv"), "--version", "1", "--grid", str(SIDE)]
        argv += ["--patch-px", "256", "--mpp", "0.5", "--min-tissue", "0.5"]
        argv += ["--tokens-dir", str(tmp_path / "tokens")]
        monkeypatch.setattr("sys.argv", ["slpd", "import_tokens", *argv, "--out", str(tmp_path / "imported.json")])
        status = main()
        return status, {r.slide: r for r in read_records(tmp_path / "imported.json")} if not status else {}

    (tmp_path / "theirs").mkdir()
    return imported


def test_all_layouts_give_the_same_tokens(run: Import, tmp_path: Path) -> None:
    theirs, expected = tmp_path / "theirs", tokens(3)
    write_h5(theirs / "clam.h5", expected, corners(3))
    write_h5(theirs / "images.hdf5", as_images(expected), None)
    torch.save(torch.from_numpy(expected), theirs / "flat.pt")
    torch.save(torch.from_numpy(as_images(expected)), theirs / "hipt.pt")
    torch.save(torch.from_numpy(as_images(expected)), theirs / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"features": torch.from_numpy(expected).half(), "coords": torch.from_numpy(corners(3))}, theirs / "d.pt")
    status, records = run(patient="p")
    assert status == 0
    assert {record.status for record in records.values()} == {"ok"}
    for slide, record in records.items():
        path = tmp_path / "tokens" / f"{slide}.h5"
        assert record.n_regions == 3
        assert np.array_equal(read_tokens(path), expected.astype(np.float16))
        has_coords = slide in ("clam", "d")
        assert np.array_equal(read_coords(path), corners(3) if has_coords else np.full((3, 2), -1))
        assert np.isnan(read_quality(path).sharpness).all()
    fingerprints = {read_source(tmp_path / "tokens" / f"{slide}.h5").fingerprint for slide in records}
    assert len(fingerprints) == len(records)  # of the files


def test_what_a_file_states_of_its_origin_is_kept(run: Import, tmp_path: Path) -> None:
    write_h5(tmp_path / "theirs" / "trident.h5", tokens(2), corners(2), **TRIDENT)
    _, records = run(trident=0.25)
    source = read_source(tmp_path / "tokens" / "trident.h5")
    assert (source.slide, source.region_px, source.region_lv0, source.slide_mpp) == ("trident", 4096, 8192, 0.25)
    assert source.encoder is None
    assert (records["trident"].region_lv0, records["trident"].slide_mpp) == (8192, 0.25)
    (tmp_path / "theirs" / "trident.h5").unlink()
    (tmp_path / "tokens" / "trident.h5").rename(tmp_path / "theirs" / "again.h5")  # our own files are taken, too
    run()
    again = read_source(tmp_path / "tokens" / "again.h5")
    assert (again.slide, again.region_px, again.slide_mpp) == ("again", 4096, 0.25)


def test_what_is_there_is_not_written_again(run: Import, tmp_path: Path) -> None:
    """A second start, or one after a kill, goes on with the files that are missing, damaged, or of other bytes."""
    theirs, ours = tmp_path / "theirs", tmp_path / "tokens"
    for number, name in enumerate("abcd"):
        write_h5(theirs / f"{name}.h5", tokens(2, seed=number), corners(2))
    _, first = run()
    whole = {path.name: path.read_bytes() for path in ours.iterdir()}
    before = {path.name: path.stat().st_mtime_ns for path in ours.iterdir()}
    (ours / "b.h5").unlink()
    damaged = bytearray(whole["c.h5"])
    with h5py.File(ours / "c.h5", "r") as file:
        damaged[file["features"].id.get_offset() + 9] ^= 1
    (ours / "c.h5").write_bytes(damaged)
    write_h5(theirs / "d.h5", tokens(2, seed=9), corners(2))
    _, second = run()
    after = {path.name: path.stat().st_mtime_ns for path in ours.iterdir()}
    assert second == first
    assert {name for name in after if after[name] != before[name]} == {"b.h5", "c.h5", "d.h5"}
    assert all((ours / f"{name}.h5").read_bytes() == whole[f"{name}.h5"] for name in "abc")
    assert np.array_equal(read_tokens(ours / "d.h5"), tokens(2, seed=9).astype(np.float16))


def test_what_is_said_of_tokens_is_said_again_of_those_that_are_there(
    run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        features = tokens(3)
        features[1, :20] = 0
        write_h5(tmp_path / "theirs" / f"{name}.h5", features, corners(3))
    for _ in range(2):
        caplog.clear()
        assert run()[0] == 2
        assert "slides of different patients have the same tokens: a and b" in capsys.readouterr().err
        assert "a: 20 of 768 tokens are zeros" in caplog.text


def own_file(path: Path, slide: str) -> None:
    """As encode_patches writes it: one of four regions could not be read, one of three is blurred."""
    source = TokenSource(slide, "of the slide", encoder="vit", region_px=4096, slide_mpp=0.5)
    quality = Quality(np.array([9, 1, 9], np.float32), corners(4)[3:])
    write_tokens(path, tokens(3).astype(np.float16), corners(3), source, quality)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_of_this_program_is_linked_with_all_it_states(
    run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """It outlives its source, and says the same where the file system has no links."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "other device")

    theirs, ours = tmp_path / "theirs" / "s.h5", tmp_path / "tokens" / "s.h5"
    own_file(theirs, "s")
    content = theirs.read_bytes()
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        _, records = run()
        assert (records["s"].n_regions, records["s"].slide_mpp) == (3, 0.5)
        assert (ours.stat().st_ino == theirs.stat().st_ino) == links
    theirs.unlink()
    assert ours.read_bytes() == content
    assert read_source(ours).fingerprint == "of the slide"
    assert read_quality(ours).sharpness.tolist() == [9, 1, 9]


def test_a_file_of_this_program_of_another_slide_or_scale_is_written_anew(run: Import, tmp_path: Path) -> None:
    own_file(tmp_path / "theirs" / "renamed.h5", "s")
    own_file(tmp_path / "theirs" / "scaled.h5", "scaled")
    run(patient="p", scaled=0.25)
    for slide, mpp in (("renamed", 0.5), ("scaled", 0.25)):
        ours = tmp_path / "tokens" / f"{slide}.h5"
        assert ours.stat().st_ino != (tmp_path / "theirs" / f"{slide}.h5").stat().st_ino
        assert (read_source(ours).slide, read_source(ours).slide_mpp) == (slide, mpp)
        assert damaged_slides(ours) == []


def test_imported_slides_are_trained_on(run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, slide in enumerate("cab", start=1):
        write_h5(tmp_path / "theirs" / f"{slide}.h5", tokens(n, seed=n), corners(n))
    (tmp_path / "theirs" / "broken.pt").write_bytes(b"no tensors")
    assert run()[0] == 0
    settings = json.dumps({"max_failed_fraction": 0.3, "min_sharpness": 0})
    argv = ["--batches", str(tmp_path / "imported.json"), "--settings", settings]
    argv += ["--tokens-dir", str(tmp_path / "tokens"), "--used", str(tmp_path / "used.txt")]
    argv += ["--out", str(tmp_path / "slides.csv")]
    monkeypatch.setattr("sys.argv", ["slpd", "cohort_manifest", *argv])
    assert main() == 0
    cohort = open_cohort_tokens(tmp_path / "slides.csv")
    assert (cohort.slides, cohort.offsets.tolist()) == (["a", "b", "c"], [0, 2, 5, 6])
    expected = np.concatenate([tokens(n, seed=n) for n in (2, 3, 1)]).astype(np.float16)
    ours = np.concatenate([values for _, values in cohort.by_slide(np.arange(6))])
    assert np.array_equal(ours, expected.reshape(6, SIDE, SIDE, WIDTH))


def infinite(n_regions: int) -> NDArray[np.float32]:
    features = tokens(n_regions)
    features[1, 3, 4] = 7e4
    return features


def halfway(features: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    """Features of which the last half is one value: of a dataset that was made whole and written by half."""
    features[len(features) // 2 :] = value
    return features


@pytest.mark.parametrize(
    ("features", "coords", "message"),
    [
        (tokens(3)[:, :200], corners(3), "features are (3, 200, 12), expected (n, side * side, width)"),
        (
            tokens(3)[:, 0],
            corners(3),
            "µm per level-0 pixel is not known: coords have no attribute level0_magnification; fill the sheet's mpp",
        ),
        (tokens(3)[:, 0], None, "features are (3, 12): single patches without coords have no places"),
        (
            tokens(30)[:, :1],
            corners(30),
            "features are (30, 1, 12), expected (n, side * side, width) or (n, width, side,"
            " side): one patch is no region, these are single patches",
        ),
        (tokens(1), corners(256), "µm per level-0 pixel is not known"),  # a bag with an axis of its batch
        (
            tokens(2)[:, :197],
            corners(2),
            "features are (2, 197, 12), expected (n, side * side, width) or (n, width, side, side): leave the class",
        ),
        (as_images(tokens(3))[:, :, :8], corners(3), "features are (3, 12, 8, 16), expected"),
        (
            as_images(tokens(3)).swapaxes(1, 3),
            corners(3),
            "features are (3, 16, 16, 12), expected (n, side * side, width) or"
            " (n, width, side, side): the width must come before the sides",
        ),
        (
            np.concatenate([as_images(tokens(3)), as_images(tokens(3))], 1)[:, :16],
            corners(3),
            "features are (3, 16, 16, 16),"
            " expected (n, side * side, width) or (n, width, side, side): side and width are equal",
        ),
        (
            halfway(tokens(8), 0),
            corners(8),
            "4 of 8 regions hold zeros alone, as files of extractions that were killed do",
        ),
        (halfway(tokens(8), 2), corners(8), "4 of 8 regions hold one token throughout"),
        (np.repeat(tokens(2), 4, 0), corners(8), "6 of 8 regions repeat another region"),
        (tokens(3) * 1e-9, corners(3), "3 of 3 regions vary by less than float16 can express"),
        (tokens(3) * 1e-3 + 1000, corners(3), "3 of 3 regions vary by less than float16 can express"),
        (tokens(0), corners(0), "features are (0, 256, 12), expected"),
        (infinite(3), corners(3), "region 1 has tokens that are not finite or beyond 65504"),
        (tokens(3).astype(np.int32), corners(3), "features are int32, expected floating point numbers"),
        (tokens(3), corners(2), "coords are (2, 2) int64, expected (3, 2) whole level-0 pixels"),
        (tokens(3), corners(3) + 0.5, "coords are (3, 2) float64, expected (3, 2) whole level-0 pixels"),
        (tokens(3), corners(3) * 0, "two regions have the same coords"),
    ],
)
@pytest.mark.parametrize("suffix", ["h5", "pt"])
def test_a_file_that_cannot_serve_fails_alone(
    run: Import,
    tmp_path: Path,
    suffix: str,
    features: NDArray[np.float32],
    coords: NDArray[np.int64] | None,
    message: str,
) -> None:
    write_h5(tmp_path / "theirs" / "good.h5", tokens(1), corners(1))
    path = tmp_path / "theirs" / f"bad.{suffix}"
    if suffix == "h5":
        write_h5(path, features, coords)
    else:
        stored = {"features": torch.tensor(features)}
        torch.save(stored if coords is None else stored | {"coords": torch.tensor(coords)}, path)
        message = message.replace("are int32", "are torch.int32")
    status, records = run()
    assert status == 0
    assert records["good"].status == "ok"
    assert (records["bad"].status, records["bad"].stage) == ("failed", "import_tokens")
    assert f"slide bad: token file {path}: {message}" in records["bad"].reason
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == ["good.h5"]


def test_trainable_tensors_and_strange_attributes(run: Import, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(exist_ok=True)
    torch.save(torch.nn.Parameter(torch.tensor(tokens(2))), tmp_path / "theirs" / "a.pt")
    for name, value in (("b", "wide"), ("c", np.arange(3))):
        write_h5(tmp_path / "theirs" / f"{name}.h5", tokens(1), corners(1))
        with h5py.File(tmp_path / "theirs" / f"{name}.h5", "r+") as file:
            file["features"].attrs["region_px"] = value
    with h5py.File(tmp_path / "theirs" / "d.h5", "w") as file:
        file["features"] = tokens(1)
        file.create_group("coords")
    status, records = run()
    assert status == 0
    assert records["a"].status == "ok"
    assert {records[name].status for name in "bcd"} == {"failed"}


class Harmful:
    """Would create a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        """How pickle rebuilds it."""
        return (Path.touch, (Path("harm"),))


def test_files_of_other_kinds_are_named_and_run_nothing(
    run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    torch.save({"features": Harmful()}, theirs / "harm.pt")
    (theirs / "text.pt").write_text("no tensors")
    (theirs / "words.h5").write_text("no tensors")
    torch.save({"coords": torch.zeros(1, 2)}, theirs / "empty.pt")
    _, records = run()
    assert {record.status for record in records.values()} == {"failed"}
    assert "cannot be read as tensors" in records["harm"].reason
    assert "cannot be read as HDF5" in records["words"].reason
    assert "no features in it" in records["empty"].reason
    assert not (tmp_path / "harm").exists()


def test_a_cohort_has_one_encoder(run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_h5(tmp_path / "theirs" / "a.h5", tokens(1), None)
    write_h5(tmp_path / "theirs" / "b.h5", np.zeros((2, 256, 384), np.float32), None)
    assert run()[0] == 2
    message = capsys.readouterr().err
    assert "b.h5 has tokens of width 384, but" in message
    assert "a.h5 of 12; a cohort needs one encoder" in message


def test_the_grid_is_that_of_the_config(run: Import, tmp_path: Path) -> None:
    """At import, not in the job that trains."""
    write_h5(tmp_path / "theirs" / "good.h5", tokens(2), corners(2))
    write_h5(tmp_path / "theirs" / "small.h5", tokens(3)[:, :64], corners(3))
    write_h5(tmp_path / "theirs" / "swapped.h5", np.repeat(tokens(4).swapaxes(1, 2), 12, 1), corners(4))
    write_h5(tmp_path / "theirs" / "micrometres.h5", tokens(5), corners(5), unit="um", tile_size_um=1024.0)
    _, records = run()
    assert records["good"].status == "ok"
    assert (
        "small.h5 has 64 patches per region, but regions.region_px and patch_encoder.patch_px make 16 x 16 = 256; set"
        in (records["small"].reason)
    )
    assert "has 144 patches per region" in records["swapped"].reason
    assert "are its last two axes swapped?" in records["swapped"].reason
    assert "coords are in um, expected level-0 pixels" in records["micrometres"].reason


def test_bags_of_as_many_patches_as_a_region_has_are_refused(
    run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """(1, 256, D): one region, or a batch of one bag. Coords or another slide's regions tell."""
    for name in "ab":
        torch.save(torch.tensor(tokens(1, seed=ord(name))), tmp_path / "theirs" / f"{name}.pt")
    assert run()[0] == 2
    assert "every token file is (1, 256, 12) without coords: one region of 16 x 16 patches, or a bag" in (
        capsys.readouterr().err
    )
    write_h5(tmp_path / "theirs" / "c.h5", tokens(1, seed=5), corners(1))
    assert run()[0] == 0
    (tmp_path / "theirs" / "c.h5").unlink()
    torch.save(torch.tensor(tokens(3)), tmp_path / "theirs" / "d.pt")
    assert run()[0] == 0


def test_the_same_tokens_under_two_patients_are_refused(
    run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever file they come in."""
    write_h5(tmp_path / "theirs" / "a.h5", tokens(3), corners(3))
    torch.save(torch.from_numpy(as_images(tokens(3))), tmp_path / "theirs" / "b.pt")
    write_h5(tmp_path / "theirs" / "c.h5", tokens(3, seed=1), corners(3))
    assert run()[0] == 2
    assert "slides of different patients have the same tokens: a and b; remove the copies" in capsys.readouterr().err
    assert run(patient="p")[0] == 0
    assert "slides with the same tokens count twice: a and b" in caplog.text


def test_tokens_of_zeros_among_others_are_counted(
    run: Import, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Background that was masked, as well as a region that was written in part."""
    features = tokens(3)
    features[1, 40:60] = 0
    write_h5(tmp_path / "theirs" / "a.h5", features, corners(3))
    assert run()[1]["a"].status == "ok"
    assert "a: 20 of 768 tokens are zeros" in caplog.text


def test_slides_and_token_files_are_not_mixed(run: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_h5(tmp_path / "theirs" / "a.h5", tokens(1), None)
    (tmp_path / "theirs" / "b.svs").write_bytes(b"a slide")
    assert run()[0] == 2
    assert "of a and b one is a slide, the other a token file" in capsys.readouterr().err
    (tmp_path / "theirs" / "a.h5").unlink()
    assert run()[0] == 2
    assert "its paths lead to slides, expected .h5, .hdf5, .pt files of tokens" in capsys.readouterr().err

"""encode_patches: tokens of every usable slide, once; reasons for the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slpd.__main__ import main
from slpd.artifacts.regions import Region, write_regions
from slpd.artifacts.slide_record import SlideRecord, read_records
from slpd.artifacts.tokens import read_coords, read_source, read_tokens
from slpd.models.patch_encoder import PatchEncoder
from slpd.settings.slides import PatchEncoder as Settings

MakeSlide = Callable[..., Path]
Encode = Callable[..., tuple[int, dict[str, SlideRecord]]]

pytestmark = pytest.mark.torch

ENCODER = {
    "model": "vit_small_patch16_224",
    "arguments": {"img_size": 16, "patch_size": 16, "depth": 1},
    "checkpoint": None,
    "sha256": None,
    "seed": 0,
    "patch_px": 16,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "batch_patches": 64,
    "slides_per_job": 8,
}
CORNERS = [(0, 0), (192, 64), (128, 64)]


@pytest.fixture
def cohort(tmp_path: Path, make_slide: MakeSlide) -> Path:
    """Records and region tables of two slides and of one that failed before; regions of 64 px at 0.5 µm/px."""
    rng = np.random.default_rng(0)
    for slide in ("a", "b"):
        pixels = rng.integers(0, 256, (256, 320, 3), dtype=np.uint8)
        make_slide(tmp_path / f"{slide}.tiff", pixels, compression=None)
        record = SlideRecord(
            slide=slide,
            path=str(tmp_path / f"{slide}.tiff"),
            slide_mpp=0.5,
            requested_mpp=0.5,
            region_px=64,
            region_lv0=64,
            n_regions=3,
        )
        record.write(tmp_path / f"{slide}.json")
        write_regions(tmp_path / f"{slide}.csv", [Region(y // 64, x // 64, x, y, 1.0) for x, y in CORNERS])
    SlideRecord(slide="c", path="c").failed("segment_tissue", "slide c: gone").write(tmp_path / "c.json")
    write_regions(tmp_path / "c.csv", [])
    return tmp_path


@pytest.fixture
def encode(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Encode:
    def run(version: int = 1, slides: str = "abc", **changes: object) -> tuple[int, dict[str, SlideRecord]]:
        records = [str(cohort / f"{slide}.json") for slide in slides]
        argv = ["--records", *records, "--settings", json.dumps(ENCODER | changes), "--version", str(version)]
        argv += ["--tokens-dir", str(cohort / "tokens"), "--out", str(cohort / "batch.json")]
        monkeypatch.setattr("sys.argv", ["slpd", "encode_patches", *argv])
        status = main()
        return status, {record.slide: record for record in read_records(cohort / "batch.json")} if not status else {}

    return run


def test_tokens_are_those_of_the_regions_pixels(encode: Encode, cohort: Path) -> None:
    status, records = encode()
    assert status == 0
    assert [record.status for record in records.values()] == ["ok", "ok", "failed"]
    tokens = read_tokens(cohort / "tokens" / "a.h5")
    assert tokens.shape == (3, 16, 384)
    assert read_coords(cohort / "tokens" / "a.h5").tolist() == [list(corner) for corner in CORNERS]
    pixels = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    encoder = PatchEncoder(Settings(**ENCODER), None)
    for (x, y), region in zip(CORNERS, tokens, strict=True):
        assert np.array_equal(region, encoder.encode(pixels[y : y + 64, x : x + 64]))
    assert not (cohort / "tokens" / "c.h5").exists()


def test_records_and_files_state_all_resolutions(encode: Encode, cohort: Path) -> None:
    _, records = encode()
    source = read_source(cohort / "tokens" / "a.h5")
    assert (records["a"].read_mpp, records["a"].effective_mpp) == (0.5, 0.5)
    assert (source.slide, source.requested_mpp, source.read_mpp, source.effective_mpp) == ("a", 0.5, 0.5, 0.5)
    assert (source.encoder, source.encoder_sha256, source.reader) == (ENCODER["model"], "random-0", "openslide")


def test_finished_slides_are_kept_and_the_rest_encoded(encode: Encode, cohort: Path) -> None:
    encode()
    paths = [cohort / "tokens" / f"{slide}.h5" for slide in "ab"]
    first = [path.read_bytes() for path in paths]
    paths[1].unlink()
    kept = paths[0].stat().st_mtime_ns
    encode(batch_patches=64, slides_per_job=3)  # neither changes tokens
    assert paths[0].stat().st_mtime_ns == kept
    assert [path.read_bytes() for path in paths] == first


@pytest.mark.parametrize("change", [{"version": 2}, {"seed": 1}, {"mean": [0.4, 0.5, 0.5]}])
def test_whatever_changes_tokens_encodes_again(encode: Encode, cohort: Path, change: dict[str, Any]) -> None:
    encode(slides="a")
    before = read_source(cohort / "tokens" / "a.h5").fingerprint
    encode(slides="a", **change)
    assert read_source(cohort / "tokens" / "a.h5").fingerprint != before


def test_other_regions_encode_again(encode: Encode, cohort: Path) -> None:
    encode(slides="a")
    write_regions(cohort / "a.csv", [Region(0, 0, 0, 0, 1.0)])
    encode(slides="a")
    assert len(read_tokens(cohort / "tokens" / "a.h5")) == 1


def test_a_damaged_token_file_is_made_again(encode: Encode, cohort: Path) -> None:
    encode(slides="a")
    path = cohort / "tokens" / "a.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    encode(slides="a")
    assert path.read_bytes() == whole


def test_a_slide_that_cannot_be_read_fails_alone_and_loses_its_tokens(encode: Encode, cohort: Path) -> None:
    encode()
    (cohort / "a.tiff").write_bytes(b"damaged since")
    status, records = encode()
    assert status == 0
    assert (records["a"].status, records["a"].stage) == ("failed", "encode_patches")
    assert "slide a" in records["a"].reason
    assert records["b"].status == "ok"
    assert not (cohort / "tokens" / "a.h5").exists()


def test_a_damaged_region_fails_the_slide_with_its_place(encode: Encode, cohort: Path, make_slide: MakeSlide) -> None:
    import tifffile

    path = make_slide(cohort / "a.tiff", np.full((256, 320, 3), 128, np.uint8), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[8], file.pages[0].databytecounts[8]  # tile at (192, 64)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\0" * size)
    _, records = encode()
    assert records["a"].status == "failed"
    assert "x 192, y 64" in records["a"].reason
    assert records["b"].status == "ok"


def test_errors_of_the_run_stop_it(encode: Encode, cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode(patch_px=48, arguments=ENCODER["arguments"] | {"img_size": 48})[0] == 2
    assert "region_px 64 is no multiple of patch_encoder.patch_px 48" in capsys.readouterr().err
    assert encode(checkpoint="gone.pth", sha256="0" * 64)[0] == 2
    assert "gone.pth" in capsys.readouterr().err

"""cohort_manifest: every slide is listed with its reason, and a cohort that lost too many stops."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slpd.__main__ import main
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens, read_cohort_coords
from slpd.artifacts.patch_tokens.token_file import Quality, TokenSource, read_source, sharp_regions, write_tokens
from slpd.artifacts.patch_tokens.used_slides import write_used
from slpd.artifacts.slides.manifest import read_manifest
from slpd.artifacts.slides.slide_record import SlideRecord, write_records

MakeManifest = Callable[..., tuple[int, str]]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> MakeManifest:
    """A function that makes the manifest of n_ok usable and n_failed failed slides in batches of two."""

    def run(
        n_ok: int,
        n_failed: int,
        fraction: float = 0.5,
        n_tokens: int = 3,
        min_sharpness: float = 0,
        readers: tuple[str, ...] = ("cucim", "openslide"),
        n_others: int = 0,
    ) -> tuple[int, str]:
        records = [
            SlideRecord(slide=f"ok-{i}", path="x", n_regions=3, reader=readers[i % len(readers)]) for i in range(n_ok)
        ]
        for record in records:
            store_tokens(tmp_path / "tokens" / f"{record.slide}.h5", record.slide, n_tokens, n_others)
        failed = [SlideRecord(slide=f"bad-{i:02}", path="x") for i in range(n_failed)]
        records += [record.failed("tile_regions", f"slide {record.slide}: too small") for record in failed]
        batches = []
        for start in range(0, len(records), 2):
            batches.append(tmp_path / f"batch_{start}.json")
            write_records(batches[-1], records[start : start + 2])
        settings = {"max_failed_fraction": fraction, "min_sharpness": min_sharpness}
        argv = ["--batches", *map(str, batches), "--settings", json.dumps(settings)]
        argv += ["--tokens-dir", str(tmp_path / "tokens"), "--used", str(tmp_path / "used.txt")]
        argv += ["--out", str(tmp_path / "slides.csv")]
        monkeypatch.setattr("sys.argv", ["slpd", "cohort_manifest", *argv])
        return main(), capsys.readouterr().err

    return run


def store_tokens(path: Path, slide: str, n_regions: int, n_others: int = 0) -> None:
    source = TokenSource(slide, "f", "vit", "random-0", "openslide", 32, 64, 64, 0.5, 0.5, 0.5, 0.5)
    numbers = np.arange(n_regions)
    tokens = numbers[:, None, None] * np.ones((n_regions, 4, 8), np.float16)
    corners = numbers[:, None] * np.array([[1, 100]])
    quality = Quality((numbers / 10).astype(np.float32), other_reader=corners[:n_others])  # sharpness 0, 0.1, 0.2
    write_tokens(path, tokens.astype(np.float16), corners, source, quality)


def test_digest_of_used_slides_follows_them_and_their_tokens_alone(manifest: MakeManifest, tmp_path: Path) -> None:
    def digest(*given: int, **settings: float) -> str:
        assert manifest(*given, 0.9, **settings)[0] == 0
        return (tmp_path / "used.txt").read_text()

    first = digest(3, 1)
    assert first.startswith("3 slides, digest ")
    assert digest(3, 0) == digest(3, 4) == first
    others = [digest(2, 1), digest(3, 1, min_sharpness=0.05)]  # of three regions each, one is blurred
    assert digest(3, 1) == first
    store_tokens(tmp_path / "tokens/ok-0.h5", "another", 3)
    write_used(tmp_path / "used.txt", read_manifest(tmp_path / "slides.csv"))
    others.append((tmp_path / "used.txt").read_text())
    assert len({first, *others}) == 4


def test_every_slide_is_listed_in_order_of_its_id(manifest: MakeManifest, tmp_path: Path) -> None:
    assert manifest(3, 1)[0] == 0
    rows = read_manifest(tmp_path / "slides.csv")
    assert [row.record.slide for row in rows] == ["bad-00", "ok-0", "ok-1", "ok-2"]
    assert [row.used for row in rows] == [False, True, True, True]
    assert rows[0].record.reason == "slide bad-00: too small"
    assert rows[0].tokens is None
    assert rows[1].tokens == tmp_path / "tokens" / "ok-0.h5"


def test_the_failure_budget_is_inclusive(manifest: MakeManifest, tmp_path: Path) -> None:
    assert manifest(3, 1, 0.25)[0] == 0
    status, message = manifest(2, 1, 0.25)
    assert status == 2
    assert "1 of 3 slides failed, manifest.max_failed_fraction allows 0.25" in message
    assert "slide bad-00: too small" in message


def test_ten_failures_are_shown_and_the_rest_counted(manifest: MakeManifest, tmp_path: Path) -> None:
    status, message = manifest(1, 13)
    assert status == 2
    assert message.count("tile_regions: slide bad") == 10
    assert "and 3 more" in message
    assert not (tmp_path / "slides.csv").exists()


def test_a_cohort_without_a_usable_slide_stops_whatever_the_budget(manifest: MakeManifest) -> None:
    status, message = manifest(0, 2, 1.0)
    assert status == 2
    assert "2 of 2 slides failed" in message


def test_token_files_must_fit_their_records(manifest: MakeManifest, tmp_path: Path) -> None:
    status, message = manifest(1, 0, n_tokens=2)
    assert status == 2
    assert "slide ok-0" in message
    assert "holds 2 regions, expected 3" in message


def test_a_missing_token_file_is_named(manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest(2, 0)
    (tmp_path / "tokens" / "ok-1.h5").unlink()
    assert main() == 2


def tokens_of(manifest: Path) -> list[float]:
    """The first token value of every used region."""
    cohort = open_cohort_tokens(manifest)
    tokens = [values for _, values in cohort.by_slide(np.arange(cohort.n_regions))]
    values: list[float] = np.concatenate(tokens)[:, 0, 0, 0].tolist()
    return values


def test_blurred_regions_are_counted_and_not_used(manifest: MakeManifest, tmp_path: Path) -> None:
    out = tmp_path / "slides.csv"
    manifest(2, 0)
    assert [(row.record.n_regions, row.record.n_blurred) for row in read_manifest(out)] == [(3, 0), (3, 0)]
    assert tokens_of(out) == [0, 1, 2, 0, 1, 2]
    manifest(2, 0, min_sharpness=0.05)
    assert [(row.record.n_regions, row.record.n_blurred) for row in read_manifest(out)] == [(2, 1), (2, 1)]
    assert open_cohort_tokens(out).offsets.tolist() == [0, 2, 4]
    assert tokens_of(out) == [1, 2, 1, 2]
    assert read_cohort_coords(out)["ok-1"].tolist() == [[1, 100], [2, 200]]


def test_a_slide_without_a_sharp_region_is_left_out_and_counts_as_failed(manifest: MakeManifest) -> None:
    status, message = manifest(2, 0, min_sharpness=0.3, fraction=1)
    assert status == 2
    assert "slide ok-0: no region left: 3 are below manifest.min_sharpness 0.3" in message


def test_regions_of_unknown_sharpness_are_used(manifest: MakeManifest, tmp_path: Path) -> None:
    manifest(1, 0)
    path = tmp_path / "tokens/ok-0.h5"
    source = read_source(path)
    write_tokens(path, np.zeros((3, 4, 8), np.float16), np.zeros((3, 2), np.int64), source)
    assert sharp_regions(path, 0.5).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("readers", "counts"),
    [
        (("cucim", "openslide"), None),
        (("nvjpeg",), None),
        (("nvjpeg", "cucim_gpu"), "cucim_gpu: 1, nvjpeg: 2"),
        (("nvjpeg", "openslide", "cucim"), "nvjpeg: 1, others: 2"),
        (("nvjpeg", "cucim_gpu", "cucim"), "cucim_gpu: 1, nvjpeg: 1, others: 1"),
    ],
)
def test_pixels_of_a_gpu_and_others_do_not_mix_in_silence(
    manifest: MakeManifest, readers: tuple[str, ...], counts: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor those of two readers on a GPU, each of which may be off by a few grey levels."""
    manifest(3, 0, readers=readers)
    assert ("were not decoded alike" in caplog.text) == (counts is not None)
    assert f"({counts or ''}" in caplog.text or counts is None


def test_regions_of_another_reader_are_not_used_in_silence(
    manifest: MakeManifest, caplog: pytest.LogCaptureFixture
) -> None:
    manifest(2, 0)
    assert "another reader" not in caplog.text
    manifest(2, 1, n_others=2)
    assert "slides with regions that another reader had to read: 2, regions: 4" in caplog.text

"""cohort_manifest: every slide is listed with its reason, and a cohort that lost too many stops."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slpd.__main__ import main
from slpd.artifacts.manifest import read_manifest
from slpd.artifacts.slide_record import SlideRecord, write_records
from slpd.artifacts.tokens import TokenSource, write_tokens

MakeManifest = Callable[..., tuple[int, str]]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> MakeManifest:
    """A function that makes the manifest of n_ok usable and n_failed failed slides in batches of two."""

    def run(n_ok: int, n_failed: int, fraction: float = 0.5, n_tokens: int = 3) -> tuple[int, str]:
        records = [SlideRecord(slide=f"ok-{i}", path="x", n_regions=3) for i in range(n_ok)]
        for record in records:
            store_tokens(tmp_path / "tokens" / f"{record.slide}.h5", record.slide, n_tokens)
        failed = [SlideRecord(slide=f"bad-{i:02}", path="x") for i in range(n_failed)]
        records += [record.failed("tile_regions", f"slide {record.slide}: too small") for record in failed]
        batches = []
        for start in range(0, len(records), 2):
            batches.append(tmp_path / f"batch_{start}.json")
            write_records(batches[-1], records[start : start + 2])
        argv = ["--batches", *map(str, batches), "--settings", json.dumps({"max_failed_fraction": fraction})]
        argv += ["--tokens-dir", str(tmp_path / "tokens"), "--out", str(tmp_path / "slides.csv")]
        monkeypatch.setattr("sys.argv", ["slpd", "cohort_manifest", *argv])
        return main(), capsys.readouterr().err

    return run


def store_tokens(path: Path, slide: str, n_regions: int) -> None:
    source = TokenSource(slide, "f", "vit", "random-0", "openslide", 32, 64, 64, 0.5, 0.5, 0.5, 0.5)
    write_tokens(path, np.zeros((n_regions, 4, 8), np.float16), np.zeros((n_regions, 2), np.int64), source)


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

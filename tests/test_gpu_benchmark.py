"""The call that measures everything on a GPU runs anywhere, and a part that fails costs its own figures alone."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
WITH_FIGURES = {
    "environment", "ceilings", "training", "numbers", "readers", "encoding", "attention", "repeated", "profiled"
}  # fmt: skip


def measured(folder: Path, *arguments: str) -> tuple[int, list[list[str]]]:
    """Run it; its exit status and the cells of its table."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(folder), *arguments]
    status = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL).returncode
    lines = (folder / "results.md").read_text().splitlines()
    return status, [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]


def test_every_part_has_figures(tmp_path: Path) -> None:
    status, rows = measured(tmp_path, "--minutes", "60", *sorted(WITH_FIGURES))
    assert {part for part, what, _ in rows if what == "done"} == WITH_FIGURES, rows
    assert status == 0
    figures = {what: figure for part, what, figure in rows if part == "readers"}
    for reader in ("nvjpeg", "cucim", "openslide"):
        assert figures[f"{reader}, slide of 0.5 µm/px: from OpenSlide"].startswith("0.00 % differ")
    apart = [figure for part, _, figure in rows if part == "repeated" and figure.startswith("weights apart")]
    assert len(apart) == 2
    assert all(figure.startswith("weights apart by 0.0e+00") for figure in apart)  # equal on a CPU


def test_a_part_without_time_loses_nothing_else(tmp_path: Path) -> None:
    status, rows = measured(tmp_path, "--minutes", "0.002", "environment", "ceilings")
    assert status == 1
    assert next(what for part, what, _ in rows if part == "ceilings") == "no time left"
    assert any(part == "environment" and what.startswith("stopped after") for part, what, _ in rows)

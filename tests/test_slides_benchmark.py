"""The benchmark of slides runs, and its slides are what it says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest

from benchmarks.repeated_tiles import GLASS, write_repeated_tiles
from slpd.geometry.read_plan import plan_read
from slpd.wsi import Slide

pytestmark = pytest.mark.slides

ROOT = Path(__file__).parents[1]


def test_a_slide_of_repeated_tiles(tmp_path: Path) -> None:
    texture = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 3, np.ones((64, 64, 3), np.uint8))  # 512 px
    write_repeated_tiles(tmp_path / "s.tiff", texture, (20480, 16384), 0.25, (1, 4), tissue_radius=1)
    with Slide("s", tmp_path / "s.tiff", None) as slide:
        assert (slide.width_lv0, slide.height_lv0, slide.downsamples) == (20480, 16384, (1.0, 4.0))
        assert slide.mpp == pytest.approx(0.25, rel=1e-4)
        assert slide.reader == "cucim"
        plan = plan_read(slide.mpp, slide.downsamples, 0.25, 512)
        assert np.abs(slide.read_region(2 * 4096, 2 * 4096, plan).astype(int) - texture).mean() < 4
        assert (slide.read_region(0, 0, plan) == GLASS).all()
    with openslide.OpenSlide(tmp_path / "s.tiff") as plain:
        coarse = np.asarray(plain.read_region((2 * 4096, 2 * 4096), 1, (128, 128)).convert("RGB"))
    assert np.abs(coarse.astype(int) - texture.reshape(128, 4, 128, 4, 3).mean((1, 3))).mean() < 4


def test_the_benchmark_runs() -> None:
    options = ["--repeats", "1", "--regions", "1", "--slides", "2", "--large", "32768", "16384"]
    command = [sys.executable, "-m", "benchmarks.slides", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout.splitlines()[-1])
    for name in ("jpeg", "jpeg_resampled", "jpeg_2000"):
        assert figures[f"{name}_speedup"] == pytest.approx(figures[f"{name}_plain_s"] / figures[f"{name}_s"], rel=0.05)
    assert figures["slides_left"] == 0
    assert 50 < figures["large_peak_mb"] < 1000

"""Bags of mean tokens: the mean of every region's patches, slides in order of id."""

import argparse
from pathlib import Path

import h5py
import numpy as np
import pytest

from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.patch_tokens.token_file import Quality, TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.stages import pool_tokens


def run_stage(folder: Path, widths: dict[str, int], min_sharpness: float = 0) -> dict[str, np.ndarray]:
    """Write a slide's tokens per name, pool them; returns the tokens. Sharpness grows from region to region."""
    rng = np.random.default_rng(0)
    rows, written = [], {}
    for slide, width in widths.items():
        tokens = rng.normal(3, 1, size=(2 + len(rows), 4, width)).astype(np.float16)
        coords = np.arange(2 * len(tokens)).reshape(-1, 2) + 100 * len(rows)
        quality = Quality(np.arange(len(tokens), dtype=np.float32))
        write_tokens(folder / f"{slide}.h5", tokens, coords, TokenSource(slide, "f"), quality)
        rows.append(
            ManifestRow(
                SlideRecord(slide=slide, path=slide, n_regions=len(tokens), min_sharpness=min_sharpness),
                folder / f"{slide}.h5",
            )
        )
        written[slide] = tokens
    failed = SlideRecord(slide="bad", path="bad").failed("segment_tissue", "no tissue")
    write_manifest(folder / "slides.csv", [*rows, ManifestRow(failed, None)])
    parser = argparse.ArgumentParser()
    pool_tokens.add_arguments(parser)
    pool_tokens.run(parser.parse_args(["--manifest", str(folder / "slides.csv"), "--out", str(folder / "bags.h5")]))
    return written


def test_vectors_are_means_of_patches(tmp_path: Path) -> None:
    written = run_stage(tmp_path, {"b": 6, "a": 6})
    bags = read_bags(tmp_path / "bags.h5")
    assert list(bags) == ["a", "b"]
    for slide, tokens in written.items():
        np.testing.assert_allclose(bags[slide], tokens.astype(np.float64).mean(axis=1), rtol=1e-6)
    with h5py.File(tmp_path / "bags.h5") as file:
        assert file["coords"][0].tolist() == [100, 101]  # of slide a, written second


def test_two_widths_and_no_slides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b.h5: features are \(3, 4, 5\), expected \(n, 4, 6\)"):
        run_stage(tmp_path, {"a": 6, "b": 5})
    with pytest.raises(UserError, match="no slide is used"):
        run_stage(tmp_path, {})


def test_regions_that_are_not_sharp_enough_are_left_out(tmp_path: Path) -> None:
    written = run_stage(tmp_path, {"b": 6, "a": 6}, min_sharpness=1)
    bags = read_bags(tmp_path / "bags.h5")
    for slide, tokens in written.items():
        np.testing.assert_allclose(bags[slide], tokens[1:].astype(np.float64).mean(axis=1), rtol=1e-6)

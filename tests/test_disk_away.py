"""A disk that is away fails a job, which is tried again; a damaged file is said once, with what to do.

`/proc/self/mem` answers a read at its beginning with EIO, as a disk does that fails.
"""

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from slpd.artifacts.arrays import read_arrays
from slpd.artifacts.disk import answer_of, number_in, raise_if_away
from slpd.artifacts.hdf5_file import open_hdf5_file
from slpd.artifacts.learned.checkpoint import read_checkpoint
from slpd.artifacts.learned.encoder_file import read_card
from slpd.artifacts.patch_tokens.cohort_tokens import fault_of
from slpd.artifacts.patch_tokens.token_file import open_tokens
from slpd.artifacts.slides.finished_slide import read_batch
from slpd.errors import UserError
from slpd.stages import segment_tissue

FAILING = Path("/proc/self/mem")


def read_hdf5(path: Path) -> None:
    with open_hdf5_file(path, "embed_bags"):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "hdf5": read_hdf5,
    "tokens": open_tokens,
    "checksums": fault_of,
    "arrays": lambda path: read_arrays(path, ["a"]),
    "checkpoint": lambda path: read_checkpoint(path, torch.device("cpu")),
    "encoder": read_card,
}


@pytest.mark.parametrize("kind", READERS)
def test_a_disk_that_fails_is_no_damage_of_a_file(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "file"
    link.symlink_to(FAILING)
    with pytest.raises(OSError, match="its disk does not answer") as fault:
        READERS[kind](link)
    assert fault.value.errno == errno.EIO
    assert fault.value.filename == str(link)


@pytest.mark.parametrize("kind", ["hdf5", "tokens", "arrays", "checkpoint"])
def test_damage_stays_a_mistake_that_is_not_tried_again(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(b"something else")
    with pytest.raises(UserError):
        READERS[kind](tmp_path / "file")


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EREMOTEIO"])
def test_a_library_that_drops_the_number_is_understood(tmp_path: Path, name: str) -> None:
    """By its words, by libhdf5's own way of writing the number, or by the error that caused it."""
    number = getattr(errno, name)
    cause = RuntimeError("cannot be read")
    cause.__cause__ = OSError(number, os.strerror(number))
    for error in (
        OSError(number, "x"),
        RuntimeError(f"TIFF directory: {os.strerror(number)}"),
        OSError(f"Can't synchronously read data (errno = {number}, error message = '...')"),
        cause,
    ):
        assert number_in(error) == number
        with pytest.raises(OSError, match="does not answer"):
            raise_if_away(tmp_path, error)
    assert number_in(OSError(errno.ENOENT, "x")) == number_in(ValueError("errno = 2")) == 0


def test_a_whole_file_and_a_missing_one_are_no_fault_of_the_disk(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["a"] = np.zeros(100000)
    assert answer_of(tmp_path / "whole.h5") == answer_of(tmp_path / "missing.h5") == 0


def segment(folder: Path, slide: Path) -> list[str]:
    """Arguments of `segment_tissue` for one slide."""
    given = {"path": str(slide), "n_bytes": 0, "mpp": 0.5, "mask": ""}
    return [
        *("--slides", json.dumps({"s": given}), "--version", "1", "--threads", "1"),
        *("--settings", '{"mpp": 8.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.05}'),
        *("--folder", str(folder / "tissue"), "--out", str(folder / "batch.json")),
    ]


@pytest.mark.parametrize("away", ["failing", "unmounted"])
def test_a_slide_on_a_disk_that_is_away_fails_the_job(tmp_path: Path, away: str) -> None:
    """With exit status 1, which is tried again, and without a record."""
    (tmp_path / "disk").mkdir()
    slide = tmp_path / "disk/s.svs"
    if away == "failing":
        slide.symlink_to(FAILING)
    words = segment(tmp_path, slide)
    run = subprocess.run(
        [sys.executable, "-m", "slpd", "segment_tissue", *words], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert ("Input/output error" if away == "failing" else "as if its disk were not mounted") in run.stderr
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_a_slide_that_is_damaged_or_gone_itself_is_a_record(tmp_path: Path, damage: str) -> None:
    slide = tmp_path / "s.svs"
    (tmp_path / "other.svs").touch()
    if damage == "garbage":
        slide.write_bytes(b"words" * 100)
    parser = argparse.ArgumentParser()
    segment_tissue.add_arguments(parser)
    segment_tissue.run(parser.parse_args(segment(tmp_path, slide)))
    (finished,) = read_batch(tmp_path / "batch.json")
    assert finished.record.status == "failed"

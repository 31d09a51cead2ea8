"""Two copies of a job at once, as after a head process that was killed and started again: neither can tear a file."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_training import (
    JOBS,
    collect_arguments,
    distill_arguments,
    pretrain_arguments,
    stage,
    train_variant,
    write_cohort,
)

pytestmark = pytest.mark.torch


def test_twins_of_a_training_leave_whole_and_equal_files(tmp_path: Path) -> None:
    """They share the outputs and the file for resuming, which each writes at every step."""
    manifest = write_cohort(tmp_path)
    jobs = JOBS.model_copy(update={"checkpoint_minutes": 1e-9})
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm"))
    train_variant(manifest, tmp_path / "alone", tmp_path / "warm")
    words = distill_arguments(manifest, tmp_path / "twin", tmp_path / "warm", jobs=jobs)
    twins = [
        subprocess.Popen([sys.executable, "-m", "slpd", "distill_slpd", *words], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for twin in twins:
        _, errors = twin.communicate()
        assert twin.returncode == 0, errors
    stage("collect_iterations", *collect_arguments(tmp_path / "twin"))
    for suffix in (".safetensors", ".h5", ".csv", ".npz"):
        assert Path(f"{tmp_path / 'twin'}{suffix}").read_bytes() == Path(f"{tmp_path / 'alone'}{suffix}").read_bytes()
    assert [path.name for path in tmp_path.rglob("*") if "partial" in path.name or "resume" in path.name] == []

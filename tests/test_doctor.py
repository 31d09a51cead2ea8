"""What doctor says of files, and of a queue that does not answer; one that does is asked in test_slurm.py."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from snakemake.common.tbdstring import TBDString

from slpd.doctor.files import readable, weights
from slpd.doctor.machine import results
from slpd.doctor.queue import queue_findings, refused

KEY = "variants.hipt.pretrained"


def test_weights_that_are_the_right_ones(tmp_path: Path) -> None:
    path = tmp_path / "hipt.pth"
    path.write_bytes(b"weights")
    assert weights(KEY, str(path), hashlib.sha256(b"weights").hexdigest()).good


def test_weights_not_at_hand_are_no_problem() -> None:
    finding = weights(KEY, None, "0" * 64)
    assert finding.good
    assert "tables say so" in str(finding)


@pytest.mark.parametrize(("content", "word"), [(b"others", "expected " + "0" * 64), (None, "No such file")])
def test_weights_that_are_others_or_gone(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "hipt.pth"
    if content is not None:
        path.write_bytes(content)
    finding = weights(KEY, str(path), "0" * 64)
    assert not finding.good
    assert word in str(finding)


def test_slides_that_are_gone_or_empty_are_named(tmp_path: Path) -> None:
    (tmp_path / "good.tiff").write_bytes(b"x")
    (tmp_path / "empty.tiff").touch()
    finding = readable([str(tmp_path / f"{name}.tiff") for name in ("good", "empty", "gone")])
    assert not finding.good
    assert "2 of 3 cannot be read" in str(finding)
    assert "empty.tiff (empty)" in str(finding)
    assert "gone.tiff (No such file or directory)" in str(finding)


@pytest.mark.parametrize(("n_bytes", "good"), [(0, True), (1e18, False)])
def test_room_is_judged_by_what_the_experiment_wants(n_bytes: float, good: bool) -> None:
    finding = results(n_bytes)
    assert finding.good == good
    assert f"about {n_bytes / 1e9:.1f} GB of results wanted" in str(finding)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with SLURM's clients, which reach nobody."""
    for name in ("sbatch", "scontrol", "sacct", "squeue", "srun", "sinfo"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'error: no route' >&2\necho 'fatal: no slurmctld' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


@pytest.mark.usefixtures("silent")
def test_silent_slurmctld_is_one_line_and_the_last(tmp_path: Path) -> None:
    found = list(queue_findings({"slurm-status-command": "squeue"}, {"evaluate": {"runtime": 1}}, tmp_path))
    assert [finding.check for finding in found] == ["slurmctld"]
    assert "error: no route; fatal: no slurmctld; nothing can be submitted" in str(found[0])
    assert "\n" not in str(found[0])


@pytest.mark.usefixtures("silent")
def test_what_may_pass_is_not_blamed_on_the_profile() -> None:
    (line,) = refused([("evaluate", {"runtime": 1})])
    assert line.startswith("evaluate: error: no route fatal: no slurmctld; SLURM may take it later")


def test_what_is_not_known_yet_is_not_asked_for(silent: Path) -> None:
    (silent / "squeue").write_text("#!/bin/sh\n")
    (silent / "sbatch").write_text('#!/bin/sh\necho "invalid: $*" >&2\nexit 1\n')
    asked = {"mem_mb": TBDString(), "runtime": TBDString(), "gpu": "<TBD>", "qos": "", "threads": 2}
    (line,) = refused([("evaluate", asked)])
    assert line == "evaluate: invalid: --test-only --cpus-per-task=2 --wrap true; correct set-resources of the profile"
    (silent / "squeue").write_text("#!/bin/sh\n")
    (silent / "sbatch").write_text("#!/bin/sh\necho 'Job 1 to start in partition cpu' >&2\n")
    (silent / "sinfo").write_text("#!/bin/sh\necho 10:00\n")
    assert refused([("evaluate", asked)]) == []


@pytest.mark.workflow
def test_a_run_ends_in_a_line_where_sinfo_is_silent(silent: Path, tmp_path: Path, make_slide: toy.MakeSlide) -> None:
    (silent / "squeue").write_text("#!/bin/sh\n")
    (silent / "sbatch").write_text("#!/bin/sh\necho 'Job 1 to start in partition cpu' >&2\n")
    toy.make_toy(tmp_path, make_slide)
    run = toy.snakemake(tmp_path, "--profile", str(toy.ROOT / "slurm"))
    assert run.returncode == 1
    assert "error: sinfo -h -p cpu -o %l: error: no route" in run.stderr
    assert "Traceback" not in run.stderr


def test_node_cannot_be_asked_without_slurm(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "slpd", "doctor", "--on-node=--gpus=1"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("error: --on-node needs srun")


@pytest.mark.workflow
@pytest.mark.usefixtures("silent")
def test_profile_of_the_user_is_found_as_snakemake_finds_it(
    tmp_path: Path, make_slide: toy.MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the user's configuration folder, under one of the names that Snakemake takes."""
    toy.make_toy(tmp_path, make_slide)
    site = tmp_path / "config/snakemake/site"
    site.mkdir(parents=True)
    (site / "config.v9+.yaml").write_text((toy.ROOT / "slurm/config.yaml").read_text() + "slurm-no-requeue: true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    command = [sys.executable, "-m", "slpd", "doctor", "--configfile", "toy.yaml", "--profile", "site"]
    environment = {**toy.environment(), "PYTHONPATH": str(toy.ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "slurm-no-requeue is set" in run.stdout, run.stdout + run.stderr
    assert "GB free here, about 0.9 GB of results wanted" in run.stdout  # three trainings, nothing else of size

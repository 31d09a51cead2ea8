"""Starting a stage in several processes: which command replaces which, on a machine and in a job of SLURM."""

import os
import sys
from pathlib import Path

import pytest

from slpd import launch
from slpd.errors import UserError

STAGE = ["distill_slpd", "--out", "x"]


class ReplacedError(Exception):
    """This process would be another command now."""


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that this process was replaced by."""
    commands: list[list[str]] = []

    def execute(program: str, command: list[str]) -> None:
        assert program == command[0]
        commands.append(command)
        raise ReplacedError

    monkeypatch.setattr(os, "execvp", execute)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return commands


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[list[str]]) -> Path:
    """A job of SLURM."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "srun").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "srun").chmod(0o755)
    return tmp_path


def test_a_single_process_on_one_machine_is_not_launched_anew(replaced: list[list[str]]) -> None:
    launch.launch(1, 1, None, STAGE)
    assert replaced == []


def test_several_on_a_machine_are_started_by_torchrun(replaced: list[list[str]]) -> None:
    with pytest.raises(ReplacedError):
        launch.launch(4, 1, None, STAGE)
    head = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    assert replaced == [[*head, "-m", "--", "slpd", *STAGE]]


def test_several_nodes_are_started_by_srun_and_meet(
    replaced: list[list[str]], job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReplacedError):
        launch.launch(8, 2, None, STAGE)
    (command,) = replaced
    assert command[:3] == ["srun", "--jobid", "7"]
    assert [command[command.index(option) + 1] for option in ("--nodes", "--ntasks", "--gpus")] == ["2", "2", "8"]
    own = command[command.index("slpd") + 1 :]
    assert own[:5] == ["--processes", "8", "--nodes", "2", "--rendezvous"]
    assert own[6:] == STAGE
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")  # as SLURM may deal them out: 5 and 3
    with pytest.raises(ReplacedError):
        launch.launch(8, 2, own[5], STAGE)
    words = replaced[1][replaced[1].index("torch.distributed.run") :]
    assert words[words.index("--nproc-per-node") + 1] == "5"
    assert words[words.index("--rdzv-endpoint") + 1] == own[5]


def test_nodes_that_do_not_share_the_processes_evenly_are_refused(job: Path) -> None:
    with pytest.raises(UserError, match="gpu is 3, nodes 2: gpu counts all nodes together"):
        launch.launch(3, 2, None, STAGE)


def test_several_nodes_outside_slurm_are_refused(replaced: list[list[str]]) -> None:
    with pytest.raises(UserError, match="nodes is 2, but only a job of SLURM can start processes on other nodes"):
        launch.launch(2, 2, None, STAGE)

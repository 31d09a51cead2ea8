"""The time limit of a job: a warning before it, and SLURM asked to start the job again."""

import os
import signal
from pathlib import Path

import pytest
from waiting import wait_until

from slpd.slurm.jobs import seconds_of
from slpd.slurm.limit import WARNING, start_again, warn_before_limit


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of SLURM whose squeue prints the content of a file, and whose scontrol keeps what it is told."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, content in (
        ("squeue", f"cat {tmp_path}/left"),
        ("srun", "exit 1"),
        ("scontrol", f"echo $@ > {tmp_path}/told"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "seconds"), [("1-02:03:04", 93784), ("10:00", 600), ("2:00:00", 7200), ("UNLIMITED", None), ("", None)]
)
def test_times_of_slurm(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(("left", "seconds"), [("1-02:03:04", 93664), ("10:00", 480), ("1:00", 48), ("2:00:00", 7080)])
def test_warning_comes_before_the_limit(job: Path, left: str, seconds: int) -> None:
    (job / "left").write_text(f"{left}|slpd_1f\n")
    timer = warn_before_limit()
    assert timer.is_alive()
    assert timer.interval == pytest.approx(seconds, abs=1)
    timer.cancel()


def test_warning_is_a_signal(job: Path) -> None:
    (job / "left").write_text("00:01|slpd_1f\n")
    received: list[int] = []
    before = signal.signal(WARNING, lambda number, _: received.append(number))
    try:
        warn_before_limit()
        wait_until(lambda: received, "the warning", every=0.05)
    finally:
        signal.signal(WARNING, before)
    assert received == [WARNING]


@pytest.mark.parametrize("left", ["UNLIMITED", "INVALID"])
def test_job_without_a_limit_is_not_warned(job: Path, left: str) -> None:
    (job / "left").write_text(f"{left}|slpd_1f\n")
    assert not warn_before_limit().is_alive()


@pytest.mark.parametrize(("variable", "value"), [("RANK", "1"), ("SLURM_JOB_ID", None)])
def test_first_process_of_a_job_alone_is_warned(
    job: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None
) -> None:
    (job / "left").write_text("10:00|slpd_1f\n")
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    assert not warn_before_limit().is_alive()


@pytest.mark.parametrize("name", ["mine", "wrap|slpd_1f", ""])
def test_job_of_the_user_in_which_the_workflow_runs_is_not_warned(job: Path, name: str) -> None:
    """SLURM would start all of it again."""
    (job / "left").write_text(f"10:00|{name}\n")
    assert not warn_before_limit().is_alive()


def test_job_is_started_again_under_its_number(job: Path) -> None:
    start_again()
    assert (job / "told").read_text() == "requeue 7\n"


def test_the_reason_of_slurms_refusal_is_reported(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    (job / "scontrol").write_text("#!/bin/sh\necho 'Requested operation is presently disabled' >&2\nexit 1\n")
    start_again()
    assert "not started again by SLURM" in caplog.text
    assert "presently disabled" in caplog.text

"""What becomes of failed jobs: tried again, later, with more memory, or not."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from slpd.slurm.attempts import Attempts, seconds_before
from slpd.slurm.failures import Failure, Refusal


@dataclass
class Rule:
    name: str = "evaluate"


@dataclass
class Job:
    """A job as Snakemake has it, as far as it is looked at; test_slurm.py has Snakemake's own."""

    attempt: int = 1
    restart_times: int = 3
    rule: Rule = field(default_factory=Rule)
    wildcards_dict: dict[str, str] = field(default_factory=lambda: {"head": "knn"})

    def is_group(self) -> bool:
        return False


def ended(cause: str, words: str = "") -> Failure:
    return Failure("9", "evaluate knn", cause, words, None, Path("9.log"))


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path, print)


def test_memory_grows_after_it_ran_out_alone_and_up_to_a_limit(attempts: Attempts) -> None:
    memory = attempts.growing("evaluate", 60, 200)
    of_job = Job().wildcards_dict
    for cause in ("hit its time limit of 1:00", "was cancelled after 0:10", "was killed by SIGKILL = 9"):
        attempts.judge(Job(), ended(cause))
    assert memory(of_job) == 60
    asked = []
    for attempt in (1, 2, 3):
        assert attempts.judge(Job(attempt), ended("ran out of memory")) == (True, 0)
        asked.append(memory(of_job))
    assert asked == [120, 200, 200]
    assert memory({"head": "abmil"}) == 60
    assert attempts.growing("evaluate", 300, 200)(of_job) == 300


def test_what_the_stage_says_is_wrong_is_not_tried_again(attempts: Attempts) -> None:
    assert attempts.judge(Job(), ended("failed with exit status 2", "error: slide S12")) == (False, 0)
    assert attempts.judge(Job(), ended("failed with exit status 2", "Traceback"))[0]
    assert attempts.judge(Job(), ended("failed with exit status 1", "error: No space left on device"))[0]


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ("sbatch: error: invalid partition specified: gpu", False),
        ("sbatch: error: Memory specification can not be satisfied", False),
        ("Requested node configuration is not available", False),
        ("/bin/sh: 1: sbatch: not found", False),
        ("Socket timed out on send/recv operation", True),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", True),
    ],
)
def test_refusals_that_would_repeat_themselves_are_final(attempts: Attempts, words: str, again: bool) -> None:
    assert attempts.judge(Job(), Refusal(0, "evaluate knn", words))[0] is again


def test_a_disk_that_is_away_for_two_minutes_leaves_attempts_over(attempts: Attempts) -> None:
    """Jobs that fail at once: the third of four attempts begins after two minutes."""
    begun = [0.0]
    for attempt in (1, 2, 3):
        again, wait = attempts.judge(Job(attempt), ended("failed with exit status 1", "OSError"))
        assert again
        begun.append(begun[-1] + wait)
    assert begun[2] > 120
    assert attempts.judge(Job(4), ended("failed with exit status 1"))[0] is False


def test_no_wait_is_longer_than_eight_minutes() -> None:
    assert [seconds_before(attempt) for attempt in (2, 3, 4, 5, 12)] == [30, 120, 480, 480, 480]


@pytest.mark.parametrize("job_id", ["9", None])
def test_logs_that_cannot_be_read_or_written_leave_a_failure_that_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_id: str | None
) -> None:
    """An exception here would end the run. A folder in the place of a log: the disk that it was on is away."""
    monkeypatch.setenv("PATH", str(tmp_path))  # no sacct
    said: list[str] = []
    (tmp_path / "slurm").write_text("no folder")
    log = tmp_path / ("x" * 300)  # longer than file systems take: an OSError
    job_info = SimpleNamespace(job=Job(), external_jobid=job_id, aux={"slurm_logfile": str(log)})
    attempts = Attempts(tmp_path / "slurm", said.append)
    failure = attempts.failure_of(job_info, "The error message was 'Socket timed out'.\n")
    assert attempts.judge(Job(), failure)[0]
    assert os.strerror(36 if job_id else 17) in "".join([*said, str(failure)])

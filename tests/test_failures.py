"""Failed jobs in a line each: what accounting and logs say becomes a cause and the last words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slpd.slurm import failures, jobs
from slpd.slurm.jobs import EndedJob, summary, task_of

LINES = {  # as sacct prints them: job and steps
    "TIMEOUT": ["9|TIMEOUT|0:0|00:01:06|00:01:00|64000M||node1|rule_evaluate_wildcards_dx_slpd_knn",
                "9.batch|CANCELLED|0:15|00:01:09|||909.74M|node1|"],
    "CANCELLED": ["9|CANCELLED by 0|0:0|00:00:17|01:00:00|200M||node1|rule_evaluate_wildcards_dx_slpd_knn"],
    "NODE_FAIL": ["9|NODE_FAIL|0:0|00:00:17|01:00:00|200M||node7|rule_evaluate_wildcards_dx_slpd_knn"],
    "FAILED": ["9|FAILED|1:0|00:00:17|01:00:00|200M||node1|rule_evaluate_wildcards_dx_slpd_knn",
               "9.batch|FAILED|1:0|00:00:17|||679.2M|node1|"],
}  # fmt: skip


def ended(state: str) -> EndedJob:
    return summary([line.split("|", 8) for line in LINES[state]])


@pytest.mark.parametrize(
    ("state", "log", "cause"),
    [
        ("TIMEOUT", "DUE TO TIME LIMIT", "hit its time limit of 00:01:00"),
        ("CANCELLED", "", "was cancelled after 00:00:17"),
        ("NODE_FAIL", "", "lost its node (node7)"),
        ("FAILED", "slurmstepd: error: Exceeded job memory limit", "ran out of memory (679M used of 200M)"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event", "ran out of memory (679M used of 200M)"),
        ("FAILED", "Command 'x' returned non-zero exit status 3.", "failed with exit status 3"),
        (
            "FAILED",
            "Command 'x' returned non-zero exit status 143.",
            "was stopped by a signal or before its time limit",
        ),
        ("FAILED", "Command 'x' died with <Signals.SIGSEGV: 11>.", "was killed by SIGSEGV = 11"),
        ("FAILED", "", "failed with exit status 1"),
    ],
)
def test_cause_is_derived_from_accounting_and_log(state: str, log: str, cause: str) -> None:
    assert failures.cause(log, ended(state)).startswith(cause)


def test_line_names_task_job_cause_log_and_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rule_log = Path("logs/toy/evaluate/knn.log")
    rule_log.parent.mkdir(parents=True)
    rule_log.write_text("12:00:00 reading\nerror: slide S12: 3 of 61 region vectors hold NaN or infinity\nand more\n")
    slurm_log = Path("logs/slurm/rule_evaluate/dx_slpd_knn/9.log")
    slurm_log.parent.mkdir(parents=True)
    slurm_log.write_text(f"    log: {rule_log} (check log file(s))\nCommand 'x' returned non-zero exit status 2.\n")
    (slurm_log.parent / "8.log").write_text("")  # of a job that goes on
    text = "\n".join([*LINES["FAILED"], "8|RUNNING|0:0|00:00:01|01:00:00|200M||node1|rule_evaluate"])
    monkeypatch.setattr(jobs, "ask", lambda *command: text)
    (failure,) = failures.failures(Path("logs/slurm"))
    assert str(failure) == (
        "evaluate dx_slpd_knn: job 9 failed with exit status 2. logs/toy/evaluate/knn.log:"
        " error: slide S12: 3 of 61 region vectors hold NaN or infinity"
    )
    assert failures.failures(Path("logs/slurm"), since=slurm_log.stat().st_mtime + 1) == []


def failed(folder: Path, name: str, rule_log: Path) -> Path:
    """The SLURM log of a job that failed with exit status 2, its end being now."""
    slurm_log = folder / f"rule_evaluate/dx_slpd_knn/{name}.log"
    slurm_log.parent.mkdir(parents=True, exist_ok=True)
    slurm_log.write_text(f"    log: {rule_log} (check log file(s))\nCommand 'x' returned non-zero exit status 2.\n")
    return slurm_log


@pytest.mark.parametrize(("minutes", "whose"), [(-600, "before"), (600, "after")])
def test_log_of_another_attempt_is_not_quoted(tmp_path: Path, minutes: int, whose: str) -> None:
    """Of a job that ran for 17 s: the rule's log of a run long before it, or of the attempt after it."""
    rule_log = tmp_path / "knn.log"
    slurm_log = failed(tmp_path, "9", rule_log)
    rule_log.write_text("12:00:00 all is well\n")
    end = slurm_log.stat().st_mtime
    os.utime(rule_log, (end + 60 * minutes, end + 60 * minutes))
    failure = failures.failure_of(slurm_log, ended("FAILED"))
    assert "all is well" not in str(failure), whose
    assert f"{slurm_log}: Command 'x' returned" in str(failure)


def test_last_words_outlive_the_next_attempt(tmp_path: Path) -> None:
    rule_log = tmp_path / "knn.log"
    slurm_log = failed(tmp_path, "9", rule_log)
    rule_log.write_text("error: first reason\n")
    failures.keep_last_words(failures.failure_of(slurm_log, ended("FAILED")))
    rule_log.write_text("error: second reason\n")
    assert str(failures.failure_of(slurm_log, None)).endswith(f"{rule_log}: error: first reason")


RUN = "Provided remote nodes: 1\nProvided cores: 2\n"
MEMBER = (
    "Command 'x' returned non-zero exit status {status}.\n[Fri Nov 27 11:24:38 2026]\nError in rule segment_tissue:\n"
    "    jobid: 0\n    log: {log} (check log file(s) for error details)\n"
)


def of_group(folder: Path, failed_members: dict[str, int], words: dict[str, str]) -> failures.Failure:
    """A job of three slides: some failed, in this order; the head process on the node lists all, indented."""
    for slide in "abc":
        (folder / f"{slide}.log").write_text(f"12:00:00 reading\n{words.get(slide, '')}\n")
    said = [MEMBER.format(status=status, log=folder / f"{slide}.log") for slide, status in failed_members.items()]
    listed = "".join(f"        log: {folder / slide}.log (check log file(s) for error details)\n" for slide in "abc")
    (folder / "9.log").write_text(f"{RUN}{''.join(said)}    Error in rule segment_tissue:\n{listed}")
    return failures.failure_of(folder / "9.log", ended("FAILED"))


def test_a_group_quotes_a_member_that_failed(tmp_path: Path) -> None:
    failure = of_group(tmp_path, {"a": 2}, {"a": "error: slide a"})
    assert str(failure).endswith(f"failed with exit status 2. {tmp_path}/a.log: error: slide a")
    assert failure.repeats_itself


@pytest.mark.parametrize(
    ("failed_members", "words"),
    [
        ({"a": 2, "b": 1}, {"a": "error: slide a", "b": "error: Input/output error"}),
        ({"b": 1, "a": 2}, {"a": "error: slide a", "b": "error: Input/output error"}),
        ({"b": 2, "a": 2}, {"a": "error: slide a", "b": "usage: python -m slpd"}),
    ],
)
def test_a_group_is_tried_again_unless_every_failed_member_says_what_is_wrong(
    tmp_path: Path, failed_members: dict[str, int], words: dict[str, str]
) -> None:
    assert not of_group(tmp_path, failed_members, words).repeats_itself


@pytest.mark.parametrize(("status", "repeats"), [(2, True), (143, False), (1, False)])
def test_torchrun_tells_the_status_of_the_process_that_failed_first(tmp_path: Path, status: int, repeats: bool) -> None:
    """It ends with 1 itself. The report is its own."""
    program = f"import sys; print('error: slide S12', file=sys.stderr); sys.exit({status})"
    (tmp_path / "stage.py").write_text(program)
    rule_log = tmp_path / "slpd.log"
    with open(rule_log, "w") as file:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        run = subprocess.run([*command, str(tmp_path / "stage.py")], stdout=file, stderr=file, check=False)
    assert run.returncode == 1
    (tmp_path / "9.log").write_text(RUN + MEMBER.format(status=1, log=rule_log))
    failure = failures.failure_of(tmp_path / "9.log", ended("FAILED"))
    assert failure.repeats_itself is repeats
    assert failure.cause.startswith("was stopped by a signal") is (status == 143)
    failures.keep_last_words(failure)
    rule_log.write_text("another attempt\n")
    later = failures.failure_of(tmp_path / "9.log", ended("FAILED"))
    assert (later.cause, later.last_words) == (failure.cause, failure.last_words)


def test_the_last_start_of_a_job_counts(tmp_path: Path) -> None:
    """A job that SLURM started again appends to its log (JobFileAppend)."""
    rule_log = tmp_path / "slpd.log"
    rule_log.write_text("error: slide S12\n")
    starts = [RUN + MEMBER.format(status=status, log=rule_log) for status in (143, 2)]
    (tmp_path / "9.log").write_text("".join(starts))
    assert failures.failure_of(tmp_path / "9.log", ended("FAILED")).repeats_itself
    (tmp_path / "9.log").write_text("".join(starts) + RUN)
    assert failures.failure_of(tmp_path / "9.log", ended("NODE_FAIL")).cause == "lost its node (node7)"
    assert not failures.failure_of(tmp_path / "9.log", ended("FAILED")).repeats_itself


def test_refused_jobs_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ask", lambda *command: "")
    for second, words in ((100.0, "invalid partition specified: gpu"), (200.0, "Memory specification")):
        failures.keep_refusal(tmp_path / "slurm", failures.Refusal(second, "evaluate dx slpd", words))
    found = failures.failures(tmp_path / "slurm", since=150)
    assert [str(refusal) for refusal in found] == [
        "evaluate dx slpd: SLURM does not take the job: Memory specification"
    ]


def test_task_of_a_comment() -> None:
    assert task_of("rule_evaluate_wildcards_dx_slpd") == "evaluate dx_slpd"
    assert task_of("rule_make_table") == "make_table"

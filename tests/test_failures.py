"""Failed jobs in a line each: what accounting and logs say becomes a cause and the last words."""

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
        ("FAILED", "Command 'x' returned non-zero exit status 124.", "was stopped before its time limit"),
        ("FAILED", "Command 'x' died with <Signals.SIGSEGV: 11>.", "was killed by SIGSEGV = 11"),
        ("FAILED", "", "failed with exit status 1"),
    ],
)
def test_cause_is_told_from_accounting_and_log(state: str, log: str, cause: str) -> None:
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


def test_task_of_a_comment() -> None:
    assert task_of("rule_evaluate_wildcards_dx_slpd") == "evaluate dx_slpd"
    assert task_of("rule_make_table") == "make_table"

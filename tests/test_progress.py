"""The lines that a run tells people: stages, what is left, failures; on a terminal and in a log."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import toy

PLUGINS = toy.ROOT / "workflow/plugins"
sys.path.insert(0, str(PLUGINS))

from snakemake_logger_plugin_stages.progress import Progress, clock  # noqa: E402  # lies where snakemake is told

SNAKEFILE = """
rule all:
    input: "c.txt"

rule first:
    output: "{part}.part"
    message: "part {wildcards.part}"
    shell: "echo {wildcards.part} > {output}"

rule second:
    input: "1.part", "2.part", "3.part"
    output: "c.txt"
    log: "second.log"
    message: "parts together"
    shell: "(test ! -e broken || {{ echo 'error: slide s1: no file'; false; }}) > {log} 2>&1; cat {input} > {output}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a workflow of two stages lies."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def environment() -> dict[str, str]:
    return toy.environment() | {"PYTHONPATH": f"{toy.ROOT}:{PLUGINS}"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "stages", *arguments]


def told(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines of a run that writes to a file."""
    run = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    return run.returncode, [line for line in run.stderr.splitlines() if line and not line.startswith("Complete log")]


def test_a_log_has_one_line_per_stage(folder: Path) -> None:
    status, lines = told(folder)
    assert status == 0
    assert [line.split()[:3] for line in lines] == [["first", "3", "jobs"], ["second", "1", "job"], ["all", "1", "job"]]
    assert ": part " in lines[0]  # the slowest of the three says which it was


def test_a_failed_job_is_told_once_with_the_words_of_its_log(folder: Path) -> None:
    (folder / "broken").touch()
    status, lines = told(folder)
    assert status != 0
    at = lines.index("failed: second: parts together")
    assert lines[at + 1 : at + 3] == ["  error: slide s1: no file", "  log: second.log"]
    assert sum("error: slide s1" in line for line in lines) == 1
    assert not [line for line in lines if "set -euo" in line]  # the command is in Snakemake's log


def test_a_fault_of_the_workflow_itself_is_told(folder: Path) -> None:
    text = (folder / "Snakefile").read_text()
    (folder / "Snakefile").write_text(text.replace("> {output}", "> {outputs}"))
    status, lines = told(folder)
    assert status != 0
    assert any("'outputs'" in line for line in lines), lines


def test_all_jobs_are_in_the_log_file_of_snakemake(folder: Path) -> None:
    told(folder)
    (log,) = folder.glob(".snakemake/log/*.log")
    assert log.read_text().count("Finished jobid") == 5


def test_a_dry_run_tells_all_jobs(folder: Path) -> None:
    run = subprocess.run(command("-n"), cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    assert "part 2" in run.stdout + run.stderr
    assert "parts together" in run.stdout + run.stderr


def test_a_terminal_gets_a_bar_and_is_left_clean(folder: Path) -> None:
    """Jobs take long enough for the bar to be drawn."""
    text = (folder / "Snakefile").read_text()
    (folder / "Snakefile").write_text(text.replace("echo {wildcards.part} >", "sleep 2; echo {wildcards.part} >"))
    shown, terminal = pty.openpty()
    with subprocess.Popen(
        command(), cwd=folder, env=environment() | {"COLUMNS": "60"}, stdout=terminal, stderr=terminal
    ) as run:
        os.close(terminal)
        output = b""
        while True:
            try:
                output += os.read(shown, 4096)
            except OSError:  # closed at its other end
                break
    os.close(shown)
    assert run.returncode == 0
    states = [state for state in output.decode().split("\r\x1b[K") if state.startswith("[")]
    assert any("of 5 jobs" in state for state in states)
    assert all(len(state.splitlines()[0]) <= 60 for state in states)
    assert not output.decode().rsplit("\r\x1b[K", 1)[1].startswith("[")


def test_time_left_by_hand() -> None:
    """Two jobs at a time, 10 s each, as many again to come: half of the work is done after 20 s."""
    progress = Progress({"a": 4, "b": 4}, now=0.0)
    for job in range(4):
        progress.start(job, "a", f"job {job}", now=10.0 * (job // 2))
        assert progress.seconds_left(progress.running[job].since) is None
        if job % 2:
            lines = [progress.end(job - 1, now=10.0 * (job // 2 + 1)), progress.end(job, now=10.0 * (job // 2 + 1))]
    assert lines == [None, progress.line("a")]
    assert progress.seconds_left(20.0) == 20.0
    assert "4 of 8 jobs, 0:20; about 0:20 left" in progress.summary(20.0)
    progress.start(4, "b", "job 4", now=20.0)
    progress.start(5, "b", "job 5", now=20.0)
    assert progress.seconds_left(25.0) == 15.0
    assert "b 0 of 4: 0:05: job 4" in progress.summary(25.0)


def test_a_failed_job_that_is_tried_again_counts_once() -> None:
    progress = Progress({"a": 1}, now=0.0)
    progress.start(0, "a", "job", now=0.0)
    progress.fail(0)
    progress.start(0, "a", "job", now=5.0)
    assert progress.end(0, now=9.0) is not None
    assert (progress.ended, progress.total) == (1, 1)
    assert "0:04" in progress.line("a")


def test_the_slowest_job_of_a_stage_is_named() -> None:
    progress = Progress({"a": 2}, now=0.0)
    progress.start(0, "a", "slide s1", now=0.0)
    progress.start(1, "a", "slide s2", now=0.0)
    progress.end(0, now=3.0)
    line = progress.end(1, now=65.0)
    assert line is not None
    assert line.endswith("slowest 1:05: slide s2")


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (760, "12:40"), (3723, "1:02:03")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown

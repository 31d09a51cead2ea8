"""After a killed head process: its jobs are waited for or cancelled, its lock goes, nothing else is touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from waiting import wait_until

from slpd.errors import UserError
from slpd.slurm.head import RECORD, record_head
from slpd.slurm.orphans import recover, refuse_orphans, unlock_if_dead, why_locked


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked folder with two jobs in the queue, beside jobs of others, as the clients of SLURM print them."""
    folder = tmp_path / "run"
    locks = folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (tmp_path / "queue").write_text(
        f"11|RUNNING|slpd_1f|{folder}|rule_distill_slpd_wildcards_toy_slpd\n"
        f"12|PENDING|slpd_1f|{folder}|rule_evaluate_wildcards_dx_slpd_knn\n"
        f"13|RUNNING|other|{folder}|\n"
        f"14|RUNNING|slpd_2a|{tmp_path}/elsewhere|rule_evaluate\n"
    )
    for name, script in (
        ("squeue", f"cat {tmp_path}/queue"),
        ("scancel", f'echo "$@" >> {tmp_path}/cancelled'),
        ("sbatch", "exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return folder


def end_one(queue: Path) -> None:
    """The first job of the queue ends."""
    queue.write_text("".join(queue.read_text().splitlines(keepends=True)[1:]))


def test_a_start_while_jobs_of_a_killed_run_are_alive_is_refused(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        refuse_orphans(folder)
    assert str(caught.value).startswith(
        "2 jobs of an earlier run are still in the queue: 11 (distill_slpd toy_slpd, running), 12 (evaluate"
    )
    assert "13" not in str(caught.value)
    assert "14" not in str(caught.value)


def test_jobs_are_waited_for_and_the_lock_goes(folder: Path) -> None:
    looks: list[float] = []

    def pause(seconds: float) -> None:
        assert (folder / ".snakemake/locks/0.input.lock").exists()
        looks.append(seconds)
        end_one(folder.parent / "queue")

    recover(folder, cancel=False, pause=pause)
    assert len(looks) == 2
    assert list((folder / ".snakemake/locks").iterdir()) == []
    assert not (folder.parent / "cancelled").exists()
    refuse_orphans(folder)


def test_jobs_of_this_folder_alone_are_cancelled(folder: Path) -> None:
    recover(folder, cancel=True, pause=lambda seconds: end_one(folder.parent / "queue"))
    assert (folder.parent / "cancelled").read_text() == "11 12\n"


def test_folder_of_a_living_run_is_left_alone(folder: Path) -> None:
    program = folder / "snakemake"
    program.write_text("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    head = subprocess.Popen([sys.executable, program], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert head.stdout is not None
        assert head.stdout.readline() == "up\n"
        with pytest.raises(UserError, match=f"Snakemake runs in .* as process {head.pid}"):
            recover(folder, cancel=True)
    finally:
        head.kill()
        head.wait()
    assert (folder / ".snakemake/locks/0.input.lock").exists()


@pytest.mark.parametrize("job", ["", "7"])
def test_head_in_a_job_on_this_machine_is_a_living_run(folder: Path, job: str) -> None:
    """It may run in the queue, as documented; jobs of single rules are Snakemake too, and no heads."""
    program = folder / "snakemake"
    program.write_text("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    environment = {**os.environ, "SLURM_JOB_ID": job}
    started = [
        subprocess.Popen(
            [sys.executable, program, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        for words in (["--target-jobs", "evaluate"], ["--profile", "slurm"])
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
        with pytest.raises(UserError, match=f"as process {started[1].pid}"):
            recover(folder, cancel=True)
    finally:
        for process in started:
            process.kill()
            process.wait()
    recover(folder, cancel=True, pause=lambda seconds: end_one(folder.parent / "queue"))


def test_head_on_another_machine_may_live(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another login node: its processes cannot be seen, so its lock stays until the user has looked."""
    with monkeypatch.context() as there:
        there.setattr("platform.node", lambda: "login2")
        record_head(folder)
    with pytest.raises(
        UserError, match=r"on login2, as process .* if it is gone: python -m slpd recover --head-is-gone"
    ):
        recover(folder, cancel=True)
    assert (folder / ".snakemake/locks/0.input.lock").exists()
    assert not (folder.parent / "cancelled").exists()
    command = [sys.executable, "-m", "slpd", "recover", "--head-is-gone", "--cancel", "--folder", str(folder)]
    (folder.parent / "queue").write_text("")
    subprocess.run(command, check=True)
    assert not (folder / ".snakemake/locks/0.input.lock").exists()
    assert not (folder / RECORD).exists()


def test_head_in_a_job_lives_as_long_as_the_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = folder.parent / "heads"
    (folder.parent / "squeue").write_text(f'#!/bin/sh\ncase "$*" in *"-j 7 "*) grep -x 7 {queue} || true ;; esac\n')
    with monkeypatch.context() as there:
        there.setenv("SLURM_JOB_ID", "7")
        there.setattr("platform.node", lambda: "node9")
        record_head(folder)
    queue.write_text("77\n7\n")
    with pytest.raises(UserError, match="in job 7; wait for it"):
        recover(folder, cancel=False)
    assert (folder / ".snakemake/locks/0.input.lock").exists()
    queue.write_text("77\n")
    recover(folder, cancel=False)
    assert not (folder / ".snakemake/locks/0.input.lock").exists()


def test_recorded_process_that_lives_keeps_its_lock_under_whatever_name(folder: Path) -> None:
    """As `coverage run -m snakemake`, or that of another user, whose folder cannot be seen."""
    (folder.parent / "queue").write_text("")
    program = f"from slpd.slurm.head import *; record_head(Path({str(folder)!r})); print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=toy.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as head:
        assert head.stdout is not None
        assert head.stdout.readline() == "up\n"
        assert not unlock_if_dead(folder)
        assert why_locked(folder) == f"Snakemake runs in {folder} as process {head.pid}; wait for it, or end it"
        record = json.loads((folder / RECORD).read_text())
        head.communicate("\n")
    other = subprocess.Popen(["sleep", "60"])  # a later process, under the number of the head that has ended
    try:
        (folder / RECORD).write_text(json.dumps(record | {"process": other.pid}))
        assert unlock_if_dead(folder)
    finally:
        other.kill()
        other.wait()


def test_head_in_the_job_of_a_colleague_is_a_living_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "squeue").write_text(
        '#!/bin/sh\ncase "$*" in *--me*) ;; *"-j 7 "*) echo 7 ;; *"-j "*)'
        " echo slurm_load_jobs error: Invalid job id specified >&2; exit 1 ;; esac\n"
    )
    with monkeypatch.context() as there:
        there.setenv("SLURM_JOB_ID", "7")
        there.setattr("platform.node", lambda: "node9")
        record_head(folder)
    with pytest.raises(UserError, match="in job 7; wait for it"):
        recover(folder, cancel=False)
    (folder / RECORD).write_text((folder / RECORD).read_text().replace('"7"', '"8"'))
    recover(folder, cancel=False)
    assert not (folder / ".snakemake/locks/0.input.lock").exists()


def test_head_that_slurm_starts_again_under_its_number_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "squeue").write_text('#!/bin/sh\ncase "$*" in *"-j 7 "*) echo 7 ;; esac\n')
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with monkeypatch.context() as there:
        there.setattr("platform.node", lambda: "node9")
        record_head(folder)
    assert unlock_if_dead(folder)


def test_record_of_a_killed_head_on_this_machine_is_no_obstacle(folder: Path) -> None:
    record_head(folder)
    recover(folder, cancel=True, pause=lambda seconds: end_one(folder.parent / "queue"))
    assert not (folder / RECORD).exists()


def test_next_start_removes_the_lock_of_a_head_that_has_surely_ended(folder: Path) -> None:
    """Not beside its jobs, which a run on this machine would repeat; without a record it is not certain."""
    assert not unlock_if_dead(folder)
    record_head(folder)
    assert not unlock_if_dead(folder)
    assert "2 jobs of an earlier run are still in the queue" in why_locked(folder)
    queue = (folder.parent / "squeue").read_text()
    (folder.parent / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert not unlock_if_dead(folder)
    (folder.parent / "squeue").write_text(queue)
    (folder.parent / "queue").write_text("")
    assert unlock_if_dead(folder)
    assert list((folder / ".snakemake/locks").iterdir()) == []
    assert not (folder / RECORD).exists()
    assert not unlock_if_dead(folder)


def test_machine_without_slurm_has_no_jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    refuse_orphans(folder)
    recover(folder, cancel=False)
    assert not (folder / ".snakemake/locks/0.input.lock").exists()


def test_lock_of_a_head_that_may_live_stays_and_says_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "queue").write_text("")
    assert "make sure that no Snakemake runs there, on another machine either, then: `python -m" in why_locked(folder)
    with monkeypatch.context() as there:
        there.setattr("platform.node", lambda: "login2")
        record_head(folder)
    assert not unlock_if_dead(folder)
    assert "on login2" in why_locked(folder)


def test_record_that_is_damaged_is_an_error_and_the_lock_stays(folder: Path) -> None:
    (folder / RECORD).touch()
    assert not unlock_if_dead(folder)
    assert "is damaged; make sure that no Snakemake runs there" in why_locked(folder)
    assert (folder / ".snakemake/locks/0.input.lock").exists()


@pytest.mark.workflow
def test_record_is_as_old_as_the_lock_and_a_dry_run_leaves_both(
    tmp_path: Path, folder: Path, make_slide: toy.MakeSlide
) -> None:
    """Without hooks too, as where the workflow is imported."""
    (tmp_path / "queue").write_text("")
    (folder / ".snakemake/locks/0.input.lock").unlink()
    toy.make_toy(folder, make_slide)
    locks = folder / ".snakemake/locks"
    command = toy.command("--no-hooks", "results/toy/cohorts/toy/slides.csv")
    with open(tmp_path / "said", "w") as said:
        head = subprocess.Popen(
            command, cwd=folder, env=toy.environment(), stdout=said, stderr=said, start_new_session=True
        )
        wait_until((folder / RECORD).exists, "the record", head, every=0.02)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    record = (folder / RECORD).read_text()
    assert json.loads(record)["process"] == head.pid
    assert any(locks.iterdir())
    dry = toy.snakemake(folder, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert any(locks.iterdir())
    assert (folder / RECORD).exists()
    (tmp_path / "queue").write_text(f"11|RUNNING|slpd_1f|{folder}|rule_evaluate\n")
    (folder / "logs/slurm").mkdir(parents=True)
    refused = toy.snakemake(folder, "--rerun-incomplete")
    assert refused.returncode != 0
    assert "1 jobs of an earlier run are still in the queue: 11 (evaluate, running)" in refused.stderr
    toy.snakemake(folder, "--unlock")
    refused = toy.snakemake(folder, "--rerun-incomplete")
    assert refused.returncode != 0
    assert "1 jobs of an earlier run are still in the queue: 11 (evaluate, running)" in refused.stderr
    (tmp_path / "queue").write_text("")
    (locks / "0.input.lock").parent.mkdir(exist_ok=True)
    (locks / "0.input.lock").touch()
    (folder / RECORD).write_text(record)
    run = toy.snakemake(folder, "--no-hooks", "--rerun-incomplete", "results/toy/cohorts/toy/slides.csv")
    assert run.returncode == 0, run.stderr
    assert "its lock is removed, this one goes on" in run.stderr
    assert not list(locks.glob("*"))
    assert not (folder / RECORD).exists()


def test_queue_that_does_not_answer_is_an_error(folder: Path) -> None:
    (folder.parent / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2\nexit 1\n")
    with pytest.raises(UserError, match="Unable to contact"):
        recover(folder, cancel=False)

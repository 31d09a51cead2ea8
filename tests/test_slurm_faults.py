"""The workflow on a real SLURM of two pretended nodes: a training that meets every fault.

`make test-slurm` installs SLURM where it may; without it these tests are skipped.
"""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml
from slurm_runs import (
    MARKS,
    accounted,
    ask,
    finish,
    job_of,
    jobs_of,
    make_folder,
    says,
    slpd,
    start,
    start_local,
    wait_until,
)

from slpd.slurm.jobs import seconds_of

pytestmark = MARKS


def long_config(epochs: int, iterations_per_job: int | None) -> dict[str, Any]:
    """A toy that trains for so many epochs, about one a second."""
    config = toy.one_variant()
    config["training"].update(epochs=epochs, dino_epochs=1, epochs_per_iteration=1)
    config["jobs"].update(checkpoint_minutes=0.05, iterations_per_job=iterations_per_job)
    config["tables"][0]["heads"] = ["knn"]
    return config


BLOCK = "toy_slpd_000_cluster_regions_distill_slpd_link_slides"  # all iterations, as Snakemake names a group of jobs
TABLES = ("tables/toy.csv", "tables/toy.md", "cohorts/toy/slides.csv", "tasks/dx/slpd/knn/predictions.csv")
TRAINED = "cohorts/toy/variants/slpd/teacher.safetensors"


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """A long toy run up to the slides, which are then ready to train on, however long."""
    folder = make_folder(tmp_path_factory.mktemp("encoded"), make_slide, long_config(2, None))
    run = toy.snakemake(folder, "--", "results/toy/cohorts/toy/slides.csv")
    assert run.returncode == 0, run.stderr
    return folder


def copied(encoded: Path, folder: Path, epochs: int, iterations_per_job: int | None) -> Path:
    """A copy of the encoded slides, to train on for so many epochs."""
    shutil.copytree(encoded, folder, symlinks=True)
    (folder / "toy.yaml").write_text(yaml.safe_dump(long_config(epochs, iterations_per_job)))
    return folder


def trainers(folder: Path) -> list[int]:
    """Processes that train in a folder, without what started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder
        except OSError:
            continue
        if here and words[1:3] == [b"-m", b"slpd"] and b"distill_slpd" in words:
            found.append(int(process.name))
    return found


def restarts(cluster: dict[str, str], job: str) -> int:
    """How often SLURM has started a job again."""
    return int(ask(cluster, "scontrol", "show", "job", job).split("Restarts=")[1].split()[0])


def pause_until_limit(cluster: dict[str, str], job: str, trainer: int) -> None:
    """Stop a trainer until its job's time limit is near: epochs, which cost processor time, do not fill the minute."""
    os.kill(trainer, signal.SIGSTOP)
    wait_until(lambda: (seconds_of(ask(cluster, "squeue", "-h", "-j", job, "-o", "%L")) or 0) < 15, "the time limit")
    os.kill(trainer, signal.SIGCONT)


def test_cancelled_killed_out_of_time_and_headless_gives_the_same_table(
    cluster: dict[str, str], tmp_path: Path, encoded: Path
) -> None:
    """One training, of slides encoded before, meets every fault and resumes; then the head process dies too."""
    undisturbed, folder = (copied(encoded, tmp_path / name, 41, None) for name in ("undisturbed", "faults"))
    quiet = start_local(undisturbed)
    log = folder / "logs/toy/distill_slpd/toy/slpd/040.log"
    limit = ["--set-resources", "distill_slpd:runtime=1", "cluster_regions:runtime=0", "link_slides:runtime=0"]
    limit += ["--retries", "2"]  # the first two faults use them up
    head = start(cluster, folder, *limit)

    wait_until(lambda: says(log, "epoch 5 of"), "the fifth epoch", head)
    cancelled = job_of(cluster, folder, BLOCK)
    ask(cluster, "scancel", cancelled)
    wait_until(lambda: job_of(cluster, folder, BLOCK) not in ("", cancelled), "the second attempt", head)
    wait_until(lambda: trainers(folder) and says(log, "resuming"), "a trainer that resumes", head)
    killed = job_of(cluster, folder, BLOCK)
    (trainer,) = trainers(folder)
    os.kill(trainer, signal.SIGKILL)

    wait_until(lambda: job_of(cluster, folder, BLOCK) not in ("", cancelled, killed), "the third attempt", head)
    third = job_of(cluster, folder, BLOCK)
    ended = [trainer]
    for n in (1, 2):
        wait_until(lambda: set(trainers(folder)) - {*ended} and says(log, "resuming"), "another trainer", head)
        (trainer,) = set(trainers(folder)) - {*ended}
        pause_until_limit(cluster, third, trainer)
        wait_until(lambda n=n: restarts(cluster, third) >= n, "a start of the same job after its time limit", head)
        ended.append(trainer)
    ask(cluster, "scontrol", "update", f"jobid={third}", "timelimit=60")  # for the rest, in one start on any machine
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()

    refused = start(cluster, folder, "--nolock", log="refused.txt")
    failures = slpd(cluster, folder, "failures").stdout
    assert f"{BLOCK}: job {cancelled} was cancelled after" in failures
    assert f"{BLOCK}: job {killed} was killed by SIGKILL = 9" in failures
    assert f"job {third}" not in failures
    memory = {job["ReqMem"] for job in jobs_of(cluster, folder) if BLOCK in job["Comment"]}
    assert memory in ({"64000M"}, {"62.50G"}), "memory grows after it ran out alone"  # as sacct's version writes it

    assert refused.wait() != 0
    assert "jobs of an earlier run are still in the queue" in (folder / "refused.txt").read_text()
    recovered = slpd(cluster, folder, "recover")
    assert recovered.returncode == 0, recovered.stderr
    finish(start(cluster, folder, log="last.txt"), folder, "last.txt")
    finish(quiet, undisturbed, "local.txt")
    for name in (*TABLES, TRAINED):
        same = (folder / "results/toy" / name).read_bytes() == (undisturbed / "results/toy" / name).read_bytes()
        assert same, name


def test_killed_in_the_middle_of_a_grouped_chain(cluster: dict[str, str], tmp_path: Path, encoded: Path) -> None:
    """Snakemake deletes the outputs of all members and runs them all again: none trains anything twice."""
    undisturbed, folder = (copied(encoded, tmp_path / name, 22, 7) for name in ("undisturbed", "chain"))
    quiet = start_local(undisturbed)
    profile = yaml.safe_load((toy.ROOT / "slurm/config.yaml").read_text())
    profile["groups"] += [f"{rule}=chain" for rule in ("cluster_regions", "link_slides", "distill_slpd")]
    (folder / "chain.yaml").write_text(yaml.safe_dump(profile))
    logs = folder / "logs/toy/distill_slpd/toy/slpd"
    head = start(cluster, folder, "--set-resources", "distill_slpd:runtime=60", profile="chain.yaml")
    wait_until(lambda: says(logs / "014.log", "epoch 11 of"), "the second block of three", head)
    assert not says(logs / "014.log", "epoch 8 of"), "a block begins where the one before ended"
    cancelled = job_of(cluster, folder, "chain")
    ask(cluster, "scancel", cancelled)
    finish(head, folder)
    finish(quiet, undisturbed, "local.txt")
    jobs = [job for rule, of_rule in accounted(cluster, folder).items() if rule.startswith("chain") for job in of_rule]
    assert [job["State"].split()[0] for job in jobs if "distill_slpd" in job["Comment"]] == ["CANCELLED", "COMPLETED"]
    assert "iteration 7 is over already" in (logs / "007.log").read_text()
    assert "resuming from" in (logs / "014.log").read_text()
    for name in (*TABLES, TRAINED, "cohorts/toy/variants/slpd/iterations.npz"):
        same = (folder / "results/toy" / name).read_bytes() == (undisturbed / "results/toy" / name).read_bytes()
        assert same, name

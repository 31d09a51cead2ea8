"""The workflow on a real SLURM of two pretended nodes: a training that meets every fault.

`make test-slurm` installs SLURM where it may; without it these tests are skipped.
"""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import toy
from slurm_runs import MARKS, ask, finish, job_of, make_folder, one_variant, says, slpd, start, start_local, wait_until

pytestmark = MARKS


def long_config() -> dict[str, Any]:
    """A toy that trains for a minute or two."""
    config = one_variant()
    config["training"].update(epochs=91, dino_epochs=1, epochs_per_iteration=1)
    config["jobs"]["checkpoint_minutes"] = 0.05
    config["tables"][0]["heads"] = ["knn"]
    return config


TABLES = ("tables/toy.csv", "tables/toy.md", "cohorts/toy/slides.csv", "tasks/dx/slpd/knn/predictions.csv")
TRAINED = "cohorts/toy/variants/slpd/teacher.safetensors"


def encoded(folder: Path, make_slide: toy.MakeSlide) -> Path:
    """The long toy run up to the slides, which are then ready to train on."""
    make_folder(folder, make_slide, long_config())
    run = toy.snakemake(folder, "--", "results/toy/cohorts/toy/slides.csv")
    assert run.returncode == 0, run.stderr
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
        if here and words[1:4] == [b"-m", b"slpd", b"distill_slpd"]:
            found.append(int(process.name))
    return found


def test_cancelled_killed_out_of_time_and_headless_gives_the_same_table(
    cluster: dict[str, str], tmp_path: Path, make_slide: toy.MakeSlide
) -> None:
    """One training, of slides encoded before, meets every fault and resumes; then the head process dies too."""
    undisturbed = encoded(tmp_path / "undisturbed", make_slide)
    folder = shutil.copytree(undisturbed, tmp_path / "faults", symlinks=True)
    quiet = start_local(undisturbed)
    log = folder / "logs/toy/distill_slpd/toy/slpd.log"
    limit = ["--set-resources", "distill_slpd:runtime=1", "--retries", "6"]
    head = start(cluster, folder, *limit)

    wait_until(lambda: says(log, "epoch 5 of"), "the fifth epoch")
    cancelled = job_of(cluster, folder, "distill_slpd")
    ask(cluster, "scancel", cancelled)
    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", cancelled), "the second attempt")
    wait_until(lambda: trainers(folder) and says(log, "resuming"), "a trainer that resumes")
    killed = job_of(cluster, folder, "distill_slpd")
    (trainer,) = trainers(folder)
    os.kill(trainer, signal.SIGKILL)

    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", cancelled, killed), "the third attempt")
    third = job_of(cluster, folder, "distill_slpd")
    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", third), "an attempt after the time limit")
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()

    refused = start(cluster, folder, "--nolock", log="refused.txt")
    failures = slpd(cluster, folder, "failures").stdout
    assert f"distill_slpd toy_slpd: job {cancelled} was cancelled after" in failures
    assert f"distill_slpd toy_slpd: job {killed} was killed by SIGKILL = 9" in failures
    assert f"distill_slpd toy_slpd: job {third} was stopped before its time limit, with its state saved" in failures

    assert refused.wait(timeout=300) != 0
    assert "jobs of an earlier run are still in the queue" in (folder / "refused.txt").read_text()
    recovered = slpd(cluster, folder, "recover")
    assert recovered.returncode == 0, recovered.stderr
    finish(start(cluster, folder, log="last.txt"), folder, "last.txt")
    finish(quiet, undisturbed, "local.txt")
    for name in (*TABLES, TRAINED):
        same = (folder / "results/toy" / name).read_bytes() == (undisturbed / "results/toy" / name).read_bytes()
        assert same, name

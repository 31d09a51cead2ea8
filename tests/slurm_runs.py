"""Runs of the workflow on a throw-away SLURM of two pretended nodes, for the tests on it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy
import waiting

MARKS = [
    pytest.mark.slurm,
    pytest.mark.workflow,
    pytest.mark.usefixtures("nothing_left_running"),
]
NEEDED = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd")
CLUSTER = toy.ROOT / "tests/slurm_cluster.sh"
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# As the shipped profile, but with an eye on the queue that suits jobs of seconds: most end before the first look, and
# the second comes 10 s later than that.
EYE_ON_THE_QUEUE = ["--slurm-init-seconds-before-status-checks", "9", "--latency-wait", "10"]


def throw_away_cluster() -> Iterator[dict[str, str]]:
    """Environment in which SLURM's clients reach a throw-away cluster."""
    missing = [name for name in NEEDED if shutil.which(name, path=SBIN) is None]
    if missing:
        pytest.skip(f"no SLURM here ({', '.join(missing)} missing): make test-slurm installs it, as root on Debian")
    folder = Path("/tmp") / f"slurm-{os.getpid()}"  # sockets need a short path
    port = 20000 + os.getpid() % 2000 * 5  # of its own, beside other clusters of this machine
    command = [CLUSTER, "start", folder, "--port", str(port)]
    start = subprocess.run(command, capture_output=True, text=True, check=False)
    if "does not resolve to 127.0.0.1" in start.stderr:
        pytest.skip(start.stderr.strip())
    assert start.returncode == 0, start.stdout + start.stderr
    environment = toy.environment()
    path = f"{folder}/bin:{environment['PATH']}"
    try:
        yield {**environment, "PATH": path, "SLURM_CONF": f"{folder}/etc/slurm.conf", "PYTHONPATH": str(toy.ROOT)}
    finally:
        subprocess.run([CLUSTER, "stop", folder, "--purge"], check=True)


wait_until = partial(waiting.wait_until, every=0.5)  # a look starts a client of SLURM

STARTED: list[subprocess.Popen[str]] = []


def end_heads() -> Iterator[None]:
    """End the head processes of a test that failed: without their cluster they would wait for ever."""
    yield
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    STARTED.clear()


def ask(cluster: dict[str, str], *command: str) -> str:
    """What a client of SLURM prints."""
    return subprocess.run(command, env=cluster, capture_output=True, text=True, check=True).stdout


def make_folder(folder: Path, make_slide: toy.MakeSlide, config: dict[str, Any]) -> Path:
    """A toy cohort with a config, and the profile where `--profile slurm` finds it."""
    folder.mkdir(exist_ok=True)
    toy.make_toy(folder, make_slide, config)
    (folder / "slurm").symlink_to(toy.ROOT / "slurm")
    return folder


def start(
    cluster: dict[str, str], folder: Path, *arguments: str, log: str = "run.txt", profile: str = "slurm"
) -> subprocess.Popen[str]:
    """Start the workflow on the cluster."""
    command = [sys.executable, "-m", "snakemake", "-s", str(toy.ROOT / "Snakefile"), "--configfile", "toy.yaml"]
    with open(folder / log, "w") as output:
        STARTED.append(
            subprocess.Popen(
                [*command, "--profile", profile, *EYE_ON_THE_QUEUE, *arguments],
                cwd=folder,
                env=cluster,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        )
    return STARTED[-1]


def start_local(folder: Path) -> subprocess.Popen[str]:
    """Start the workflow without a queue, beside what else is tested."""
    with open(folder / "local.txt", "w") as output:
        STARTED.append(
            subprocess.Popen(
                toy.command(),
                cwd=folder,
                env=toy.environment(),
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        )
    return STARTED[-1]


def finish(process: subprocess.Popen[str], folder: Path, log: str = "run.txt") -> str:
    """Wait for a run that must end well; what it printed."""
    assert process.wait() == 0, (folder / log).read_text()[-5000:]
    return (folder / log).read_text()


def says(log: Path, word: str) -> bool:
    """Whether a log has a word."""
    return log.is_file() and word in log.read_text(errors="replace")


def jobs_of(cluster: dict[str, str], folder: Path) -> list[dict[str, str]]:
    """The jobs that were submitted from a folder, as accounting has them: some moments after the queue."""
    fields = "JobIDRaw,Comment,AllocTRES,ReqMem,Timelimit,State,ExitCode,NNodes,WorkDir"
    lines = ask(cluster, "sacct", "-X", "-n", "-P", "-o", fields).splitlines()
    jobs = [dict(zip(fields.split(","), line.split("|"), strict=True)) for line in lines]
    return [job for job in jobs if job["WorkDir"] == str(folder)]


def accounted(cluster: dict[str, str], folder: Path) -> dict[str, list[dict[str, str]]]:
    """Rule -> what sacct says of its jobs that were submitted from a folder, all of which have ended."""
    wait_until(lambda: not {"PENDING", "RUNNING"} & {job["State"] for job in jobs_of(cluster, folder)}, "accounting")
    found: dict[str, list[dict[str, str]]] = {}
    for job in jobs_of(cluster, folder):
        rule = job["Comment"].removeprefix("rule_").split("_wildcards_")[0]
        found.setdefault(rule, []).append(job | dict(part.split("=") for part in job["AllocTRES"].split(",")))
    return found


def slpd(cluster: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package in a folder."""
    command = [sys.executable, "-m", "slpd", *words]
    return subprocess.run(command, cwd=folder, env=cluster, capture_output=True, text=True, check=False)


def job_of(cluster: dict[str, str], folder: Path, rule: str) -> str:
    """The id of the running job of a rule, or nothing."""
    lines = ask(cluster, "squeue", "-h", "-t", "RUNNING", "-o", "%i|%Z|%k").splitlines()
    jobs = [line.split("|") for line in lines]
    return next((job for job, where, comment in jobs if where == str(folder) and f"rule_{rule}" in comment), "")

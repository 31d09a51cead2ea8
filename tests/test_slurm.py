"""The workflow on a real SLURM of two pretended nodes: what jobs ask for, and what survives which fault.

`make test-slurm` installs SLURM where it may; without it these tests are skipped.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.timeout(1500)]

NEEDED = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd")
CLUSTER = toy.ROOT / "tests/slurm_cluster.sh"
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# As the shipped profile, but with an eye on the queue that suits jobs of seconds: most end before the first look, and
# the second comes 10 s later than that.
PROFILE = ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "9", "--latency-wait", "10"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
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


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
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


def start(cluster: dict[str, str], folder: Path, *arguments: str, log: str = "run.txt") -> subprocess.Popen[str]:
    """Start the workflow on the cluster."""
    command = [sys.executable, "-m", "snakemake", "-s", str(toy.ROOT / "Snakefile"), "--configfile", "toy.yaml"]
    with open(folder / log, "w") as output:
        STARTED.append(
            subprocess.Popen(
                [*command, *PROFILE, *arguments],
                cwd=folder,
                env=cluster,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        )
    return STARTED[-1]


def finish(process: subprocess.Popen[str], folder: Path, log: str = "run.txt", seconds: float = 600) -> str:
    """Wait for a run that must end well; what it printed."""
    assert process.wait(timeout=seconds) == 0, (folder / log).read_text()[-5000:]
    return (folder / log).read_text()


def wait_until(holds: Callable[[], object], what: str, seconds: float = 240.0) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.2)


def says(log: Path, word: str) -> bool:
    """Whether a log has a word."""
    return log.is_file() and word in log.read_text(errors="replace")


# ---- what jobs ask for ---------------------------------------------------------------------------------------------


def one_variant() -> dict[str, Any]:
    """The toy's config with the method alone."""
    config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(toy.TOY))
    config["variants"] = [{"name": "slpd"}]
    config["tables"][0]["variants"] = ["slpd"]
    return config


@pytest.fixture(scope="module")
def finished(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """The toy run on the cluster, undisturbed."""
    folder = make_folder(tmp_path_factory.mktemp("finished"), make_slide, one_variant())
    two_nodes = ["--set-resources", "distill_slpd:gpu=2", "distill_slpd:nodes=2"]
    finish(start(cluster, folder, *two_nodes), folder)
    return folder


def accounted(cluster: dict[str, str], folder: Path) -> dict[str, list[dict[str, str]]]:
    """Rule -> what sacct says of its jobs that were submitted from a folder."""
    fields = "JobIDRaw,Comment,AllocTRES,Timelimit,State,ExitCode,NNodes,WorkDir"
    lines = ask(cluster, "sacct", "-X", "-n", "-P", "-o", fields).splitlines()
    jobs = [dict(zip(fields.split(","), line.split("|"), strict=True)) for line in lines]
    found: dict[str, list[dict[str, str]]] = {}
    for job in jobs:
        if job["WorkDir"] == str(folder):
            rule = job["Comment"].removeprefix("rule_").split("_wildcards_")[0]
            found.setdefault(rule, []).append(job | dict(part.split("=") for part in job["AllocTRES"].split(",")))
    return found


ASKED = {  # rule -> jobs, CPUs, memory, GPUs, nodes, time limit
    "slides_segment_tissue_tile_regions": (1, "8", "16000M", None, "1", "00:40:00"),
    "check_cohort": (1, "1", "1000M", None, "1", "00:10:00"),
    "encode_patches": (1, "8", "16000M", "1", "1", "12:00:00"),
    "cohort_manifest": (1, "1", "1000M", None, "1", "00:10:00"),
    "pretrain_dino": (1, "2", "62.50G", "1", "1", "1-00:00:00"),
    "distill_slpd": (1, "4", "125G", "2", "2", "1-00:00:00"),  # CPUs and memory are asked for per node
    "cluster_regions": (1, "1", "4000M", None, "1", "01:00:00"),
    "link_slides": (1, "1", "8000M", None, "1", "01:00:00"),
    "embed_bags": (1, "2", "62.50G", "1", "1", "02:00:00"),
    "evaluate": (2, "2", "8000M", None, "1", "04:00:00"),
    "make_table": (1, "1", "1000M", None, "1", "00:10:00"),
}


@pytest.mark.parametrize("rule", ASKED)
def test_jobs_get_what_the_rule_and_the_profile_ask_for(cluster: dict[str, str], finished: Path, rule: str) -> None:
    n_jobs, *asked = ASKED[rule]
    jobs = accounted(cluster, finished)[rule]
    assert len(jobs) == n_jobs
    for job in jobs:
        got = [job["cpu"], job["mem"], job.get("gres/gpu"), job["NNodes"], job["Timelimit"]]
        assert (got, job["State"]) == (asked, "COMPLETED")


def test_slides_share_jobs(cluster: dict[str, str], finished: Path) -> None:
    """Twenty jobs of slides are one of the queue."""
    jobs = accounted(cluster, finished)
    assert len(jobs["slides_segment_tissue_tile_regions"]) == 1
    assert sum(map(len, jobs.values())) <= 16


def test_training_on_two_nodes_ran_one_process_on_each(cluster: dict[str, str], finished: Path) -> None:
    for job in accounted(cluster, finished)["distill_slpd"]:
        steps = ask(cluster, "sacct", "-n", "-P", "-j", job["JobIDRaw"], "-o", "JobID,NTasks,NNodes").splitlines()
        assert f"{job['JobIDRaw']}.0|2|2" in steps


def test_manifest_names_the_jobs_of_the_run(finished: Path) -> None:
    (manifest,) = (finished / "results/toy/runs").glob("*.json")
    jobs = yaml.safe_load(manifest.read_text())["jobs"]
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert {job["nodes"] for job in jobs} <= {"node1", "node2", "node[1-2]"}


def test_second_run_submits_nothing(cluster: dict[str, str], finished: Path) -> None:
    assert "Nothing to be done" in finish(start(cluster, finished, log="again.txt"), finished, "again.txt")


def test_profile_is_found_from_elsewhere(cluster: dict[str, str], finished: Path, tmp_path: Path) -> None:
    """As documented: with `-s`, `--directory` and the profile's own path."""
    command = [sys.executable, "-m", "snakemake", "-s", str(toy.ROOT / "Snakefile"), "--directory", str(finished)]
    given = ["--configfile", str(finished / "toy.yaml"), "--profile", str(toy.ROOT / "slurm"), "--dry-run"]
    run = subprocess.run([*command, *given], cwd=tmp_path, env=cluster, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stdout + run.stderr


# ---- doctor --------------------------------------------------------------------------------------------------------


def slpd(cluster: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package in a folder."""
    command = [sys.executable, "-m", "slpd", *words]
    return subprocess.run(command, cwd=folder, env=cluster, capture_output=True, text=True, check=False, timeout=300)


def test_doctor_finds_the_cluster_fit(cluster: dict[str, str], finished: Path) -> None:
    run = slpd(cluster, finished, "doctor", "--configfile", "toy.yaml", "--profile", "slurm")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "ok      job distill_slpd: --mem=64000 --time=1440 --nodes=1 --cpus-per-task=2 --gpus=1" in run.stdout
    assert "ok      slides: all 10 can be read" in run.stdout


def test_doctor_names_what_would_wait_for_ever(cluster: dict[str, str], finished: Path) -> None:
    profile = yaml.safe_load((toy.ROOT / "slurm/config.yaml").read_text())
    profile["set-resources"]["evaluate"] = {"runtime": 60 * 24 * 9}
    profile["set-resources"]["pretrain_dino"] = {"gpu": 64}
    profile["slurm-array-jobs"] = "all"
    profile["slurm-status-command"] = "sacct"
    (finished / "unfit.yaml").write_text(yaml.safe_dump(profile))
    run = slpd(cluster, finished, "doctor", "--configfile", "toy.yaml", "--profile", "unfit.yaml")
    assert run.returncode == 1
    problems = [line for line in run.stdout.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == 4
    assert any("job evaluate" in line and "allows 2880 minutes; it would wait for ever" in line for line in problems)
    assert any(
        "job pretrain_dino" in line and "Requested node configuration is not available" in line for line in problems
    )
    assert any("slurm-array-jobs is set" in line for line in problems)
    assert any("slurm-status-command is not squeue" in line for line in problems)


# ---- the demo ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.environ.get("DEMO"), reason="a quarter of an hour: make test-slurm DEMO=yes")
@pytest.mark.timeout(3600)
def test_demo_gives_the_bytes_of_a_run_without_slurm(cluster: dict[str, str], tmp_path: Path) -> None:
    drawn = slpd(
        cluster, tmp_path, "make_cohort", "--config", str(toy.ROOT / "config/demo_cohort.yaml"), "--out", "data"
    )
    assert drawn.returncode == 0, drawn.stderr
    for name in ("queue", "local"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data/demo").symlink_to(tmp_path / "data")
        (tmp_path / name / "slurm").symlink_to(toy.ROOT / "slurm")
        (tmp_path / name / "toy.yaml").symlink_to(toy.ROOT / "config/demo.yaml")
    finish(start(cluster, tmp_path / "queue"), tmp_path / "queue", seconds=2400)
    local = toy.snakemake(tmp_path / "local")
    assert local.returncode == 0, local.stderr
    words = ["verify", "results/demo", "--compare", str(tmp_path / "local/results/demo")]
    compared = slpd(cluster, tmp_path / "queue", *words)
    assert compared.returncode == 0, compared.stdout
    assert "make_table: " in compared.stdout


# ---- faults --------------------------------------------------------------------------------------------------------


def long_config() -> dict[str, Any]:
    """A toy that trains for a minute or two."""
    config = one_variant()
    config["training"].update(epochs=91, dino_epochs=1, epochs_per_iteration=1)
    config["jobs"]["checkpoint_minutes"] = 0.05
    config["tables"][0]["heads"] = ["knn"]
    return config


TABLES = ("tables/toy.csv", "tables/toy.md", "cohorts/toy/slides.csv", "tasks/dx/slpd/knn/predictions.csv")
TRAINED = "cohorts/toy/variants/slpd/teacher.safetensors"


def start_undisturbed(folder: Path, make_slide: toy.MakeSlide) -> subprocess.Popen[bytes]:
    """Start the long toy run on this machine, without a queue and without faults; it runs beside the other."""
    folder.mkdir()
    toy.make_toy(folder, make_slide, long_config())
    with open(folder / "run.txt", "w") as output:
        return subprocess.Popen(toy.command(), cwd=folder, env=toy.environment(), stdout=output, stderr=output)


def job_of(cluster: dict[str, str], folder: Path, rule: str) -> str:
    """The id of the running job of a rule, or nothing."""
    lines = ask(cluster, "squeue", "-h", "-t", "RUNNING", "-o", "%i|%Z|%k").splitlines()
    jobs = [line.split("|") for line in lines]
    return next((job for job, where, comment in jobs if where == str(folder) and f"rule_{rule}" in comment), "")


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
    cluster: dict[str, str], finished: Path, tmp_path: Path, make_slide: toy.MakeSlide
) -> None:
    """One training, of slides encoded before, meets every fault and resumes; then the head process dies too."""
    undisturbed = tmp_path / "undisturbed"
    quiet = start_undisturbed(undisturbed, make_slide)
    folder = shutil.copytree(finished, tmp_path / "faults", symlinks=True)
    (folder / "toy.yaml").write_text(yaml.safe_dump(long_config()))
    log = folder / "logs/toy/distill_slpd/toy/slpd.log"
    limit = ["--set-resources", "distill_slpd:runtime=1", "--retries", "6"]
    head = start(cluster, folder, *limit)

    wait_until(lambda: says(log, "epoch 5 of"), "the fifth epoch")
    cancelled = job_of(cluster, folder, "distill_slpd")
    ask(cluster, "scancel", cancelled)
    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", cancelled), "the second attempt")
    wait_until(lambda: says(log, "resuming"), "a trainer that resumes")
    wait_until(lambda: trainers(folder), "a trainer")
    killed = job_of(cluster, folder, "distill_slpd")
    time.sleep(5)
    for process in trainers(folder):
        os.kill(process, signal.SIGKILL)

    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", cancelled, killed), "the third attempt")
    third = job_of(cluster, folder, "distill_slpd")
    wait_until(lambda: job_of(cluster, folder, "distill_slpd") not in ("", third), "an attempt after the time limit")
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()

    failures = slpd(cluster, folder, "failures").stdout
    assert f"distill_slpd toy_slpd: job {cancelled} was cancelled after" in failures
    assert f"distill_slpd toy_slpd: job {killed} was killed by SIGKILL = 9" in failures or killed in failures
    assert f"distill_slpd toy_slpd: job {third} was stopped before its time limit, with its state saved" in failures

    again = start(cluster, folder, "--unlock", log="unlock.txt")
    assert again.wait() == 0
    refused = start(cluster, folder, *limit, log="refused.txt")
    if job_of(cluster, folder, "distill_slpd"):
        assert refused.wait() != 0
        assert "jobs of an earlier run are still in the queue" in (folder / "refused.txt").read_text()
    recovered = slpd(cluster, folder, "recover")
    assert recovered.returncode == 0, recovered.stderr
    finish(start(cluster, folder, log="last.txt"), folder, "last.txt")
    assert quiet.wait(timeout=600) == 0, (undisturbed / "run.txt").read_text()[-5000:]
    for name in (*TABLES, TRAINED):
        same = (folder / "results/toy" / name).read_bytes() == (undisturbed / "results/toy" / name).read_bytes()
        assert same, name


def test_out_of_memory_gets_more_and_says_so(cluster: dict[str, str], finished: Path) -> None:
    arguments = ["--set-resources", "evaluate:mem_mb=60 * attempt ** 4", "--forcerun", "evaluate"]
    target = "results/toy/tasks/dx/slpd/knn/metrics.csv"
    finish(start(cluster, finished, *arguments, "--", target, log="memory.txt"), finished, "memory.txt")
    memory = [job["mem"] for job in accounted(cluster, finished)["evaluate"]][-2:]
    assert memory == ["60M", "960M"]
    assert "ran out of memory" in slpd(cluster, finished, "failures").stdout


def brought_back(cluster: dict[str, str], node: str) -> bool:
    """Ask for a lost node again; SLURM refuses while its job is cleaned away, and where it came back by itself."""
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], env=cluster, check=False)
    return not ask(cluster, "sinfo", "-h", "-n", node, "-o", "%T").startswith(("down", "drain"))


def test_preempted_job_and_lost_node_are_left_to_slurm(cluster: dict[str, str], finished: Path) -> None:
    """A job of a higher partition takes the nodes, then one node is lost: the same job starts again and ends well."""
    arguments = ["--forcerun", "embed_bags", "--retries", "0"]
    target = "results/toy/cohorts/toy/variants/slpd/bags.h5"
    head = start(cluster, finished, *arguments, "--", target, log="preempted.txt")
    wait_until(lambda: job_of(cluster, finished, "embed_bags"), "a job that runs")
    job = job_of(cluster, finished, "embed_bags")
    whole = ["--nodes=2", "--exclusive", "-p", "high", "-t", "1"]
    subprocess.run(["sbatch", "-W", *whole, "-o", "/dev/null", "--wrap", "sleep 1"], env=cluster, check=True)
    restarts = ask(cluster, "scontrol", "show", "job", job)
    assert "Restarts=1" in restarts
    wait_until(lambda: job_of(cluster, finished, "embed_bags") == job, "the job after preemption", 300)
    node = ask(cluster, "squeue", "-h", "-j", job, "-o", "%N").strip()
    ask(cluster, "scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    wait_until(lambda: brought_back(cluster, node), "the node to come back")
    finish(head, finished, "preempted.txt")
    assert "Restarts=2" in ask(cluster, "scontrol", "show", "job", job)

"""The workflow on a real SLURM of two pretended nodes: what jobs get, what doctor says, what SLURM does to jobs.

`make test-slurm` installs SLURM where it may; without it these tests are skipped.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy
import yaml
from slurm_runs import MARKS, accounted, ask, finish, job_of, jobs_of, make_folder, slpd, start, wait_until

pytestmark = MARKS

# ---- what jobs ask for ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """The toy run on the cluster, undisturbed."""
    folder = make_folder(tmp_path_factory.mktemp("finished"), make_slide, toy.one_variant())
    two_nodes = ["--set-resources", "distill_slpd:gpu=2", "distill_slpd:nodes=2"]
    finish(start(cluster, folder, *two_nodes), folder)
    return folder


BLOCK = "cluster_regions_distill_slpd_link_slides"  # of iterations, as Snakemake names a group of rules
ASKED = {  # rule -> jobs, CPUs, memory, GPUs, nodes, time limit
    "slides_picture_regions_segment_tissue_tile_regions": (1, "2", "4000M", None, "1", "00:50:00"),
    "check_cohort": (1, "1", "1000M", None, "1", "00:10:00"),
    "encode_patches": (1, "8", "16000M", "1", "1", "12:00:00"),
    "cohort_manifest": (1, "1", "1000M", None, "1", "00:10:00"),
    "pretrain_dino": (1, "2", "62.50G", "1", "1", "1-00:00:00"),
    f"toy_slpd_000_{BLOCK}": (1, "4", "125G", "2", "2", "23:30:00"),  # CPUs and memory are asked for per node
    f"toy_slpd_001_{BLOCK}": (1, "4", "125G", "2", "2", "23:30:00"),
    "toy_slpd_trained_cluster_regions_link_slides": (1, "1", "8000M", None, "1", "00:30:00"),
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
    """The three stages of a batch of slides are one job of the queue."""
    jobs = accounted(cluster, finished)
    assert len(jobs["slides_picture_regions_segment_tissue_tile_regions"]) == 1
    assert sum(map(len, jobs.values())) <= 18


def test_training_on_two_nodes_ran_one_process_on_each(cluster: dict[str, str], finished: Path) -> None:
    for job in accounted(cluster, finished)[f"toy_slpd_000_{BLOCK}"]:
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


def test_doctor_finds_the_cluster_fit(cluster: dict[str, str], finished: Path) -> None:
    run = slpd(cluster, finished, "doctor", "--configfile", "toy.yaml", "--profile", "slurm")
    assert run.returncode == 0, run.stdout + run.stderr
    block = "cluster_regions+link_slides+distill_slpd"
    assert f"ok      job {block}: --mem=64000 --time=1410 --nodes=1 --cpus-per-task=2 --gpus=1" in run.stdout
    assert "ok      slides: all 10 can be read" in run.stdout


def test_doctor_names_jobs_that_would_never_start(cluster: dict[str, str], finished: Path) -> None:
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
    assert any(
        "job evaluate" in line and "allows 2880 minutes, not 12960; it would wait for ever" in line for line in problems
    )
    assert any(
        "job pretrain_dino" in line and "Requested node configuration is not available" in line for line in problems
    )
    assert any("slurm-array-jobs is set" in line for line in problems)
    assert any("slurm-status-command is not squeue" in line for line in problems)


# ---- what is not tried ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--default-resources", "slurm_partition=nowhere"], "invalid partition specified: nowhere"),
        (["--set-resources", "evaluate:mem_mb=900000"], "evaluate: "),
        (["--set-resources", "evaluate:runtime=12960"], "allows 2880 minutes, not 12960; it would wait for ever"),
    ],
)
def test_jobs_that_slurm_would_refuse_are_reported_before_anything_is_submitted(
    cluster: dict[str, str], finished: Path, asked: list[str], words: str
) -> None:
    before = len(jobs_of(cluster, finished))
    head = start(cluster, finished, *asked, "--forcerun", "evaluate", log="refused.txt")
    assert head.wait() == 1
    said = (finished / "refused.txt").read_text()
    assert words in said.split("error: SLURM would not run these jobs")[1]
    assert "Logfile" not in said
    assert len(jobs_of(cluster, finished)) == before


def test_a_mistake_is_said_once(cluster: dict[str, str], finished: Path) -> None:
    """A damaged file: the stage names it and is not tried again."""
    bags = finished / "results/toy/cohorts/toy/variants/slpd/bags.h5"
    whole, times = bags.read_bytes(), bags.stat()
    before = len(accounted(cluster, finished)["evaluate"])
    bags.write_bytes(b"damaged")
    os.utime(bags, ns=(times.st_atime_ns, times.st_mtime_ns))
    target = "results/toy/tasks/dx/slpd/knn/metrics.csv"
    head = start(cluster, finished, "--forcerun", "evaluate", "--", target, log="mistake.txt")
    ended = head.wait()
    bags.write_bytes(whole)
    os.utime(bags, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ended == 1
    assert len(accounted(cluster, finished)["evaluate"]) == before + 1
    assert "bags.h5: cannot be read" in (finished / "mistake.txt").read_text()


# ---- what SLURM does to jobs ----------------------------------------------------------------------------------------


def test_out_of_memory_gets_more_and_says_so(cluster: dict[str, str], finished: Path) -> None:
    arguments = ["--set-resources", "evaluate:mem_mb=50", "evaluate:mem_mb_max=480", "--forcerun", "evaluate"]
    target = "results/toy/tasks/dx/slpd/knn/metrics.csv"
    before = len(accounted(cluster, finished)["evaluate"])
    finish(start(cluster, finished, *arguments, "--", target, log="memory.txt"), finished, "memory.txt")
    memory = [job["mem"] for job in accounted(cluster, finished)["evaluate"]][before:]
    assert memory[:3] == ["50M", "100M", "200M"]  # whatever the job imports takes more than 100 MB
    assert set(memory[3:]) <= {"400M"}
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
    wait_until(lambda: job_of(cluster, finished, "embed_bags"), "a job that runs", head)
    job = job_of(cluster, finished, "embed_bags")
    whole = ["--nodes=2", "--exclusive", "-p", "high", "-t", "1"]
    subprocess.run(["sbatch", "-W", *whole, "-o", "/dev/null", "--wrap", "sleep 1"], env=cluster, check=True)
    restarts = ask(cluster, "scontrol", "show", "job", job)
    assert "Restarts=1" in restarts
    wait_until(lambda: job_of(cluster, finished, "embed_bags") == job, "the job after preemption", head)
    node = ask(cluster, "squeue", "-h", "-j", job, "-o", "%N").strip()
    ask(cluster, "scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    wait_until(lambda: brought_back(cluster, node), "the node to come back", head)
    finish(head, finished, "preempted.txt")
    assert "Restarts=2" in ask(cluster, "scontrol", "show", "job", job)


def test_silent_slurmctld_is_asked_again(cluster: dict[str, str], finished: Path) -> None:
    head = start(cluster, finished, "--forcerun", "make_table", log="silent.txt")
    wait_until(lambda: job_of(cluster, finished, "make_table"), "a job that runs", head)
    slurmctld = int((Path(cluster["SLURM_CONF"]).parents[1] / "run/slurmctld.pid").read_text())
    os.kill(slurmctld, signal.SIGSTOP)
    try:  # longer than between two looks of the head process
        silence = [subprocess.run(["squeue"], env=cluster, capture_output=True, check=False) for _ in range(3)]
    finally:
        os.kill(slurmctld, signal.SIGCONT)
    assert all(run.returncode for run in silence)
    finish(head, finished, "silent.txt")

"""Checks of the queue: settings that avoid known defects of the plugin, and whether SLURM accepts each kind of job."""

import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slpd.doctor.finding import Finding
from slpd.errors import UserError, first_of
from slpd.slurm.attempts import REPEATS_ITSELF
from slpd.slurm.jobs import ask, has_slurm, seconds_of
from slpd.slurm.orphans import refuse_orphans

FLAGS = {
    "mem_mb": "--mem={}",
    "runtime": "--time={}",
    "slurm_partition": "--partition={}",
    "slurm_account": "--account={}",
    "constraint": "--constraint={}",
    "qos": "--qos={}",
    "nodes": "--nodes={}",
    "threads": "--cpus-per-task={}",
    "gres": "--gres={}",
    "slurm_extra": "{}",
}

ENDLESS = "it would wait for ever"
NOT_KNOWN = (None, "", "<TBD>")  # Snakemake writes the last where a value depends on files that do not exist yet

NO_SBATCH = Finding("SLURM", False, "no sbatch here", "go to a machine that submits jobs, or leave --profile out")


def queue_findings(
    profile: Mapping[str, Any], requests: Mapping[str, Mapping[str, Any]], folder: Path
) -> Iterator[Finding]:
    """One finding per check and per kind of job.

    Args:
        profile: Content of the profile.
        requests: Name of a rule or group -> resources of its jobs.
        folder: Where the workflow runs.
    """
    if not has_slurm():
        yield NO_SBATCH
        return
    yield from settings(profile)
    try:
        site = ask("scontrol", "show", "config")
    except UserError as error:
        yield Finding("slurmctld", False, str(error), "nothing can be submitted before it answers")
        return
    yield accounting()
    yield forgetting(site, int(profile.get("slurm-init-seconds-before-status-checks", 40)))
    yield orphans(folder)
    for name, asked in requests.items():
        yield submission(name, asked)


def refused(requests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Jobs of a run that SLURM would refuse or never start: a line per reason."""
    if not has_slurm():
        return [str(NO_SBATCH)]
    asked = {" ".join([name, *flags_of(request)]): (name, request) for name, request in requests}
    names: dict[str, list[str]] = {}
    for name, request in sorted(asked.values(), key=lambda pair: pair[0]):
        names.setdefault(objection(request), []).append(name)
    reasons = {reason: first_of(list(dict.fromkeys(jobs)), 3) for reason, jobs in names.items() if reason}
    return [f"{jobs}: {reason}; {remedy(reason)}" for reason, jobs in reasons.items()]


def settings(profile: Mapping[str, Any]) -> Iterator[Finding]:
    """Settings that a profile must not have, because of defects of the plugin (2.8.0)."""
    if profile.get("slurm-array-jobs"):
        found = "slurm-array-jobs is set: unfinished tasks are reported as done, outputs of others deleted"
        yield Finding("profile", False, found, "remove it; groups make few jobs of many slides")
    if profile.get("slurm-status-command") != "squeue":
        found = "slurm-status-command is not squeue: a cancelled job is waited for without end"
        yield Finding("profile", False, found, "slurm-status-command: squeue")
    if profile.get("slurm-no-requeue"):
        found = "slurm-no-requeue is set: a preempted job is waited for without end"
        yield Finding("profile", False, found, "slurm-requeue: true")


def accounting() -> Finding:
    """Check that sacct answers. It tells why jobs failed, and stands in where squeue does not know a job."""
    try:
        ask("sacct", "-n", "-X", "-o", "JobID")
    except UserError as error:
        remedy = "if slurmctld is silent for a while, Snakemake forgets its jobs: python -m slpd recover, start again"
        return Finding("accounting", False, str(error), remedy)
    return Finding("accounting", True, "sacct answers")


def forgetting(site: str, interval: int) -> Finding:
    """Check that squeue remembers ended jobs until the next poll. `site` is the output of `scontrol show config`."""
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", site, re.MULTILINE)
    age = int(found[1]) if found else 0
    good = age >= 3 * interval
    remedy = "" if good else f"lower slurm-init-seconds-before-status-checks (it is {interval}) to {age // 3} or less"
    return Finding("MinJobAge", good, f"squeue knows ended jobs for {age} s", remedy)


def orphans(folder: Path) -> Finding:
    """Check whether jobs of a killed run are still in the queue."""
    try:
        refuse_orphans(folder)
    except UserError as error:
        return Finding("earlier run", False, str(error))
    return Finding("earlier run", True, "none of its jobs is in the queue")


def submission(name: str, asked: Mapping[str, Any]) -> Finding:
    """Check that SLURM would accept a job and start it."""
    words, reason = " ".join(flags_of(asked)), objection(asked)
    if not reason:
        return Finding(f"job {name}", True, words)
    return Finding(f"job {name}", False, f"{words}: {reason}", remedy(reason))


def remedy(reason: str) -> str:
    """What to do about a job that SLURM refuses."""
    if REPEATS_ITSELF.search(reason) or reason.endswith(ENDLESS):
        return "correct set-resources of the profile"
    return "SLURM may take it later: start again; where it says the same then, correct the profile"


def objection(asked: Mapping[str, Any]) -> str:
    """Why SLURM refuses a job, in its own words, or would never start it: its time exceeds the partition's limit."""
    command = ["sbatch", "--test-only", *flags_of(asked), "--wrap", "true"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return " ".join(run.stderr.split()).removeprefix("allocation failure: ")
    partition = re.search(r"in partition (\S+)", run.stderr)
    limit = longest(partition[1]) if partition else None
    minutes = asked.get("runtime")
    if partition and limit is not None and minutes not in NOT_KNOWN and minutes > limit:
        return f"partition {partition[1]} allows {limit} minutes, not {minutes}; {ENDLESS}"
    return ""


def flags_of(asked: Mapping[str, Any]) -> list[str]:
    """The options of sbatch for a job."""
    flags = [flag.format(asked[key]) for key, flag in FLAGS.items() if asked.get(key) not in NOT_KNOWN]
    if asked.get("gpu") not in (*NOT_KNOWN, 0):
        model = f"{asked['gpu_model']}:" if asked.get("gpu_model") else ""
        flags.append(f"--gpus={model}{asked['gpu']}")
    return shlex.split(" ".join(flags))


def longest(partition: str) -> int | None:
    """Time limit of a partition, minutes; None: no limit."""
    limit = seconds_of(ask("sinfo", "-h", "-p", partition, "-o", "%l").split("\n")[0])
    return limit // 60 if limit is not None else None

"""Jobs as `squeue` and `sacct` report them, with the rule and wildcards that Snakemake wrote into their comment."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slpd.errors import UserError

ASKING_SECONDS = 60  # a busy slurmctld answers late


@dataclass(frozen=True)
class LiveJob:
    """A job that waits or runs."""

    job_id: str
    state: str
    name: str
    folder: Path  # it was submitted from
    task: str  # rule and wildcards


@dataclass(frozen=True)
class EndedJob:
    """How a job ended."""

    job_id: str
    state: str  # of sacct, without "by <user>"
    exit_code: int
    signal: int  # that ended it or a step; 0: none
    elapsed: str
    time_limit: str
    memory_asked: str
    memory_used: str  # largest of its steps; empty: not known
    nodes: str
    task: str


def has_slurm() -> bool:
    """Whether this machine has SLURM's clients."""
    return shutil.which("sbatch") is not None


def ask(*command: str) -> str:
    """What a client of SLURM prints.

    Raises:
        UserError: it is not there, fails, or does not answer.
    """
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=ASKING_SECONDS, check=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: no such program; is this a machine of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} has not answered for {ASKING_SECONDS} s; is slurmctld up? Try again") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {'; '.join(error.stderr.splitlines()) or error}") from None
    return run.stdout


def seconds_of(text: str) -> int | None:
    """A time as SLURM prints it, `1-02:03:04` down to `03:04`; None: `UNLIMITED`, or no time."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds


def live_jobs(folder: Path, prefix: str) -> list[LiveJob]:
    """The user's jobs that were submitted from `folder` under names that begin with `prefix`.

    Raises:
        UserError: squeue cannot be asked.
    """
    lines = ask("squeue", "-h", "-u", getpass.getuser(), "-o", "%i|%T|%j|%Z|%k").splitlines()
    jobs = [parse_live(line) for line in lines]
    here = folder.resolve()
    return [job for job in jobs if job.name.startswith(prefix) and job.folder.resolve() == here]


def parse_live(line: str) -> LiveJob:
    """A line of squeue."""
    job_id, state, name, folder, comment = line.split("|", 4)
    return LiveJob(job_id, state, name, Path(folder), task_of(comment))


def task_of(comment: str) -> str:
    """`rule_evaluate_wildcards_dx_slpd` -> `evaluate dx slpd`, as far as it can be told."""
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return f"{rule} {wildcards}".strip()


FIELDS = "JobIDRaw,State,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList,Comment"


def ended_jobs(job_ids: Sequence[str]) -> dict[str, EndedJob]:
    """How jobs ended, by id; jobs that accounting does not know are left out.

    Raises:
        UserError: sacct cannot be asked.
    """
    if not job_ids:
        return {}
    text = ask("sacct", "-n", "-P", "--units=M", "-j", ",".join(job_ids), "-o", FIELDS)
    steps: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        cells = line.split("|", 8)
        steps.setdefault(cells[0].split(".")[0], []).append(cells)
    return {job: summary(lines) for job, lines in steps.items()}


def summary(lines: Sequence[Sequence[str]]) -> EndedJob:
    """A job from sacct's lines for it (the first) and its steps."""
    job = lines[0]
    signals = [int(line[2].split(":")[1]) for line in lines if ":" in line[2]]
    used = [float(line[6].removesuffix("M")) for line in lines if line[6].removesuffix("M")]
    return EndedJob(
        job_id=job[0],
        state=job[1].split()[0],
        exit_code=int(job[2].split(":")[0] or 0),
        signal=max(signals, default=0),
        elapsed=job[3],
        time_limit=job[4],
        memory_asked=job[5],
        memory_used=f"{max(used):.0f}M" if used else "",
        nodes=job[7],
        task=task_of(job[8]),
    )

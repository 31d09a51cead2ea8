"""The head process of a run: Snakemake itself, which submits jobs from a login node or from a job of its own.

While it lives its folder must be left alone. A record in the folder, as old as its lock, says which process it is, and
where. On this machine a process without a record is looked for too.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from slpd.artifacts.atomic import write_text
from slpd.errors import UserError
from slpd.slurm.jobs import ask

RECORD = Path(".snakemake/slpd_head.json")


@dataclass(frozen=True)
class Head:
    """Where a run was started."""

    machine: str
    process: int
    job_id: str  # of SLURM, that it is in; empty: none
    started: str | None = None  # when the process was, in ticks since the machine's start; None: not known


def record_head(folder: Path) -> None:
    """Say in the folder that this process runs the workflow in it."""
    process = os.getpid()
    head = Head(platform.node(), process, os.environ.get("SLURM_JOB_ID", ""), start_of(process))
    write_text(folder / RECORD, json.dumps(asdict(head)))


def last_head(folder: Path) -> Head | None:
    """The head that last said that it runs here, and not that it ended.

    Raises:
        UserError: what it said cannot be read.
    """
    try:
        return Head(**json.loads((folder / RECORD).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UserError(
            f"{folder / RECORD} is damaged; make sure that no Snakemake runs there, on another machine either, then:"
            " python -m slpd recover --head-is-gone"
        ) from None


@contextmanager
def head_recorded(folder: Path) -> Iterator[None]:
    """This process runs the workflow in the folder, for as long as the block."""
    record_head(folder)
    try:
        yield
    finally:
        forget_head(folder)


def forget_head(folder: Path) -> None:
    """Say that it no longer does."""
    (folder / RECORD).unlink(missing_ok=True)


def refuse_living_head(folder: Path) -> None:
    """Refuse to touch a folder in which Snakemake runs, or may run on another machine.

    Raises:
        UserError: with the process or the job, and what to do.
    """
    here = head_process(folder)
    if here:
        raise UserError(f"Snakemake runs in {folder} as process {here}; wait for it, or end it")
    head = last_head(folder)
    if head is None:
        return
    other_job = head.job_id != os.environ.get("SLURM_JOB_ID")  # SLURM starts a job again under its number
    if head.job_id and other_job and lives(head.job_id):
        raise UserError(f"Snakemake runs in {folder} in job {head.job_id}; wait for it, or end it")
    if head.machine == platform.node():
        if still_runs(head):
            raise UserError(f"Snakemake runs in {folder} as process {head.process}; wait for it, or end it")
    elif not head.job_id:
        raise UserError(
            f"Snakemake was started in {folder} on {head.machine}, as process {head.process}, and has not said that it"
            f" ended. Look there; if it is gone: python -m slpd recover --head-is-gone"
        )


def lives(job_id: str) -> bool:
    """Whether a job waits or runs.

    Raises:
        UserError: squeue cannot be asked.
    """
    try:
        return bool(ask("squeue", "-h", "-j", job_id, "-o", "%A").strip())
    except UserError as error:
        if "Invalid job id" in str(error):  # it ended some minutes ago
            return False
        raise


def still_runs(head: Head) -> bool:
    """Whether the process of a head of this machine runs: another process, not a later one under its number."""
    try:
        os.kill(head.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    started = start_of(head.process)
    return head.process != os.getpid() and (None in (started, head.started) or started == head.started)


def start_of(process: int) -> str | None:
    """When a process was started, in ticks since the start of the machine; None: the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def head_process(folder: Path) -> int | None:
    """The process of another Snakemake that runs in the folder on this machine; those of single jobs do not count."""
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder.resolve()
        except OSError:  # it has ended, or is another user's
            continue
        snakemake = any(Path(word.decode(errors="replace")).name == "snakemake" for word in words[:3])
        if here and snakemake and b"--target-jobs" not in words:
            return int(process.name)
    return None

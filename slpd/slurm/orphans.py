"""Jobs whose head process is gone: found, waited for or cancelled, so that no job gets a twin."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from slpd.errors import UserError, first_of
from slpd.slurm.head import RECORD, forget_head, refuse_living_head
from slpd.slurm.jobs import LiveJob, ask, has_slurm, live_jobs

log = logging.getLogger(__name__)

PREFIX = "slpd_"  # slurm-jobname-prefix of the profile
LOCKS = Path(".snakemake/locks")
PAUSE_SECONDS = 10.0


def earlier_jobs(folder: Path) -> list[LiveJob]:
    """Jobs of runs in the folder that wait or run; where there is no SLURM, none.

    Raises:
        UserError: squeue cannot be asked.
    """
    return live_jobs(folder, PREFIX) if has_slurm() else []


def refuse_orphans(folder: Path) -> None:
    """Refuse to start beside jobs of an earlier run.

    Raises:
        UserError: with the jobs and what to do.
    """
    jobs = earlier_jobs(folder)
    if jobs:
        shown = first_of([f"{job.job_id} ({job.task}, {job.state.lower()})" for job in jobs], 5)
        raise UserError(
            f"{len(jobs)} jobs of an earlier run are still in the queue: {shown}. `python -m slpd recover` waits"
            " for them, `python -m slpd recover --cancel` ends them; then start again"
        )


def recover(folder: Path, cancel: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Leave the folder without jobs of an earlier run and without its lock.

    Args:
        folder: Where the workflow runs.
        cancel: End the jobs instead of waiting for them.
        pause: Waits between two looks at the queue, seconds.

    Raises:
        UserError: a head process runs in the folder or may do so, or the queue cannot be asked.
    """
    refuse_living_head(folder)
    jobs = earlier_jobs(folder)
    if jobs and cancel:
        ask("scancel", *(job.job_id for job in jobs))
    while jobs:
        log.info("%s for %s", "waiting" if not cancel else "cancelled, waiting", described(jobs))
        pause(PAUSE_SECONDS)
        jobs = earlier_jobs(folder)
    unlock(folder)


def unlock(folder: Path) -> None:
    """Remove the lock of a killed run, and its record."""
    for lock in (folder / LOCKS).glob("*"):
        log.info("lock of the killed run removed: %s", lock)
        lock.unlink()
    forget_head(folder)


def unlock_if_dead(folder: Path) -> bool:
    """Remove the lock of a run whose head and jobs have certainly ended; whether there was one."""
    recorded = (folder / RECORD).exists()
    if not recorded or not any((folder / LOCKS).glob("*")) or reason_to_stay(folder):
        return False
    unlock(folder)
    return True


def reason_to_stay(folder: Path) -> str:
    """The head or the jobs that live, or may, and keep a lock in its place; empty: none is known."""
    try:
        refuse_living_head(folder)
        refuse_orphans(folder)
    except UserError as error:
        return str(error)
    return ""


def why_locked(folder: Path) -> str:
    """What to do about a lock, in a line."""
    return reason_to_stay(folder) or (
        f"{folder.resolve()} is locked; make sure that no Snakemake runs there, on another machine either, then:"
        " `python -m slpd recover`, and start again"
    )


def described(jobs: list[LiveJob]) -> str:
    """Jobs in a few words."""
    running = sum(job.state == "RUNNING" for job in jobs)
    return f"{len(jobs)} jobs of the earlier run, {running} of them running: {', '.join(job.task for job in jobs[:3])}"

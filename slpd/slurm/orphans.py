"""Jobs whose head process is gone: found, waited for or cancelled, so that no job gets a twin."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from slpd.errors import UserError
from slpd.slurm.jobs import LiveJob, ask, live_jobs

log = logging.getLogger(__name__)

PREFIX = "slpd_"  # slurm-jobname-prefix of the profile
LOCKS = Path(".snakemake/locks")
PAUSE_SECONDS = 10.0


def refuse_orphans(folder: Path) -> None:
    """Refuse to start beside jobs of an earlier run.

    Raises:
        UserError: with the jobs and what to do.
    """
    jobs = live_jobs(folder, PREFIX)
    if jobs:
        shown = ", ".join(f"{job.job_id} ({job.task}, {job.state.lower()})" for job in jobs[:5])
        more = f" and {len(jobs) - 5} more" if len(jobs) > 5 else ""
        raise UserError(
            f"{len(jobs)} jobs of an earlier run are still in the queue: {shown}{more}. `python -m slpd recover` waits"
            " for them, `python -m slpd recover --cancel` ends them; then start again"
        )


def recover(folder: Path, cancel: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Leave the folder without jobs of an earlier run and without its lock.

    Args:
        folder: Where the workflow runs.
        cancel: End the jobs instead of waiting for them.
        pause: Waits between two looks at the queue, seconds.

    Raises:
        UserError: a head process runs in the folder, or the queue cannot be asked.
    """
    head = head_process(folder)
    if head:
        raise UserError(f"Snakemake runs in {folder} as process {head}; nothing is to be recovered while it does")
    jobs = live_jobs(folder, PREFIX)
    if jobs and cancel:
        ask("scancel", *(job.job_id for job in jobs))
    while jobs:
        log.info("%s for %s", "waiting" if not cancel else "cancelled, waiting", described(jobs))
        pause(PAUSE_SECONDS)
        jobs = live_jobs(folder, PREFIX)
    for lock in (folder / LOCKS).glob("*"):
        log.info("lock of the killed run removed: %s", lock)
        lock.unlink()


def described(jobs: list[LiveJob]) -> str:
    """Jobs in a few words."""
    running = sum(job.state == "RUNNING" for job in jobs)
    return f"{len(jobs)} jobs of the earlier run, {running} of them running: {', '.join(job.task for job in jobs[:3])}"


def head_process(folder: Path) -> int | None:
    """The process of a Snakemake that runs in the folder on this machine, jobs of SLURM left out."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder.resolve()
            in_job = b"SLURM_JOB_ID=" in (process / "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if here and not in_job and any(Path(word.decode(errors="replace")).name == "snakemake" for word in words[:3]):
            return int(process.name)
    return None

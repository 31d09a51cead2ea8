"""The time limit of a job of SLURM: a warning before it, and a new start of the same job.

A stage that goes on where it stopped saves itself at the warning and has its job started again, under its own number
and as often as it takes: for Snakemake the job has not ended, so no attempt is used up. SLURM's own SIGTERM comes too
late for that: it ends the shells of the job too, and with them the job.
"""

import logging
import os
import signal
from threading import Timer, main_thread

from slpd.errors import UserError
from slpd.launch import in_job
from slpd.slurm.jobs import ask, seconds_of
from slpd.slurm.orphans import PREFIX

SAVING_SECONDS = 120.0  # before the time limit; of short jobs a fifth of the time
WARNING = signal.SIGUSR2

log = logging.getLogger(__name__)


def warn_before_limit() -> Timer:
    """Have the first process of a job get `WARNING` before SLURM ends it; never outside a job or without a limit.

    Returns:
        What sends it, to be cancelled when nobody heeds it any more.
    """
    left = seconds_left() if in_job() and os.environ.get("RANK", "0") == "0" else None  # RANK: of torchrun
    seconds = left - min(SAVING_SECONDS, left / 5) if left is not None else 0.0
    timer = Timer(seconds, signal.pthread_kill, [main_thread().ident, WARNING])
    timer.daemon = True
    if left is not None:
        timer.start()
    return timer


def seconds_left() -> float | None:
    """Time until SLURM ends this job; None: no limit, SLURM does not say, or the workflow has not submitted the job."""
    try:
        left, _, name = ask("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%L|%j").partition("|")
        return seconds_of(left) if name.startswith(PREFIX) else None  # started again, the user's own would begin anew
    except UserError as error:
        log.warning("the time limit is not known: %s", error)
        return None


def start_again() -> None:
    """Have SLURM end this job and start it again; where it refuses, the job ends, and Snakemake tries again."""
    try:
        ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
    except UserError as error:
        log.warning("not started again by SLURM: %s", error)
    else:
        log.info("the time limit is near: SLURM starts job %s again", os.environ["SLURM_JOB_ID"])

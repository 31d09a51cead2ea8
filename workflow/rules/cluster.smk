"""How a run starts and what it does about failed jobs: for the hooks of the Snakefile, in the head process alone."""

import subprocess
from contextlib import contextmanager

import snakemake.exceptions
from snakemake.logging import logger
from snakemake.persistence import PersistenceBase

from slpd.slurm.attempts import Attempts
from slpd.slurm.failures import LOGS as SLURM_LOGS
from slpd.slurm.head import head_recorded
from slpd.slurm.orphans import refuse_orphans, unlock_if_dead, why_locked


class LockedError(snakemake.exceptions.WorkflowError):
    """Replaces Snakemake's message, which advises removing the lock without asking whether a run or its jobs are alive,
    here or elsewhere.
    """

    def __init__(self):
        super().__init__(f"error: {why_locked(Path())}")


def recorded(lock):
    """Snakemake's lock, which dry runs do not take: that of a killed run goes, and while it is held a record says by whom."""

    @contextmanager
    def lock_and_record(persistence):
        if unlock_if_dead(Path()):
            logger.info("The last run here was killed: its lock is removed, this one goes on.")
        with lock(persistence), head_recorded(Path()):
            yield

    return lock_and_record


if workflow.is_main_process:
    snakemake.exceptions.LockException = LockedError
    PersistenceBase.lock = recorded(PersistenceBase.lock)  # no hook: onstart comes late, and importers may have none


def start_run():
    """Before the first job: not beside jobs of a killed run; what a cluster would not take is said now, failures are heeded."""
    on_slurm = workflow.executor_plugin.name == "slurm"
    try:
        if on_slurm or SLURM_LOGS.is_dir():  # a run on this machine would repeat jobs of the queue
            refuse_orphans(Path())
        if on_slurm:
            refuse_what_slurm_refuses()
        refuse_patch_encoder()
    except UserError as error:
        sys.exit(f"error: {error}")
    spare_jobs(workflow.dag)
    if on_slurm:
        Attempts(SLURM_LOGS, logger.error).heed(workflow.scheduler, workflow.rules)
        workflow.scheduler._executor._fallback_account_arg = ""  # SLURM knows the user's; the plugin's guess fails


def refuse_what_slurm_refuses():
    """Refuse the run before jobs are submitted that SLURM would not take.

    Raises:
        UserError: with the jobs and SLURM's words, or SLURM cannot be asked.
    """
    from slpd.doctor.queue import refused

    jobs = {workflow.dag.get_job_group(job) or job for job in workflow.dag.needrun_jobs() if not job.is_local}
    asked = [(rules_of(job), dict(job.resources.items()) | {"threads": job.threads}) for job in jobs]
    reasons = refused(asked)
    if reasons:
        raise UserError("\n".join(["SLURM would not run these jobs. Nothing was submitted", *reasons]))


def refuse_patch_encoder():
    """Refuse the run, before any slide is read, if the patch encoder that it needs cannot be built or its weights do not fit.

    In a process of its own: torch takes seconds and hundreds of MB, which only a run that encodes should pay.

    Raises:
        UserError: with what is wrong.
    """
    if not any(stage_of(job) == "encode_patches" for job in workflow.dag.needrun_jobs()):
        return
    if not importlib.util.find_spec("timm"):
        logger.info(
            "The patch encoder is checked by the jobs that use it: there is no timm where this run was started."
        )
        return
    command = [sys.executable, "-m", "slpd", "check_encoder", "--settings", settings("patch_encoder")]
    checked = subprocess.run(command, capture_output=True, text=True)
    if checked.returncode:
        raise UserError(checked.stderr.strip().splitlines()[-1].removeprefix("error: "))


def rules_of(job):
    """The rule of a job, or the rules of a group."""
    return "+".join(dict.fromkeys(member.rule.name for member in jobs_of(job)))

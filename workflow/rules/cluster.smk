"""How a run starts and what it does about failed jobs: for the hooks of the Snakefile, in the head process alone."""

import snakemake.exceptions
from snakemake.logging import logger

from slpd.slurm.attempts import Attempts, task_name
from slpd.slurm.failures import LOGS as SLURM_LOGS
from slpd.slurm.orphans import refuse_orphans, unlock_if_dead, why_locked


class LockedError(snakemake.exceptions.WorkflowError):
    """In place of Snakemake's, which advises to remove the lock and knows nothing of jobs or machines that may live."""

    def __init__(self):
        super().__init__(f"error: {why_locked(Path())}")


if workflow.is_main_process:
    snakemake.exceptions.LockException = LockedError
    if unlock_if_dead(Path()):
        logger.info("The last run here was killed: its lock is removed, this one goes on.")


def start_run():
    """Before the first job: on a cluster, what it would not take is said now, and failures are heeded from now on."""
    if workflow.executor_plugin.name == "slurm":
        refuse_what_slurm_refuses()
        Attempts(SLURM_LOGS, logger.error).heed(workflow.scheduler, workflow.rules)
        workflow.scheduler._executor._fallback_account_arg = ""  # SLURM knows the user's; the plugin's guess fails
    record_head(Path())


def refuse_what_slurm_refuses():
    """End the run before jobs are submitted that SLURM refuses, or beside those of a killed run."""
    from slpd.doctor.queue import refused

    jobs = {workflow.dag.get_job_group(job) or job for job in workflow.dag.needrun_jobs() if not job.is_local}
    asked = [(rules_of(job), dict(job.resources.items()) | {"threads": job.threads}) for job in jobs]
    try:
        reasons = refused(asked)
        if reasons:
            sys.exit("\n".join(["error: SLURM would not run these jobs. Nothing was submitted", *reasons]))
        refuse_orphans(Path())
    except UserError as error:
        sys.exit(f"error: {error}")


def rules_of(job):
    """The rule of a job, or the rules of a group."""
    return "+".join(dict.fromkeys(member.rule.name for member in job.jobs)) if job.is_group() else job.rule.name

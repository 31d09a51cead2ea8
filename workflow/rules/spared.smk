"""Jobs that a run leaves out once it knows that their inputs are what they were.

Snakemake plans a job as soon as one before it is planned. That the slides used are the same, or the folds, it learns when
`used.txt` and `folds.csv` are written. Then the run goes on with what a fresh start would do.
"""

DECIDING = ("cohort_manifest", "join_cohorts", "split_folds")  # short stages whose results are often what they were


def spare_jobs(dag):
    """Plan what depends on a deciding stage anew when it has ended."""
    finish = dag.finish

    async def finish_and_plan_anew(job, **how):
        ready = await finish(job, **how)
        ended = [member for member in jobs_of(job) if stage_of(member.rule) in DECIDING]
        if ended:
            await plan_anew(dag, ended)
        return ready or bool(ended)

    dag.finish = finish_and_plan_anew


async def plan_anew(dag, ended):
    """Drop planned jobs whose only reason was that these would run. Jobs that run, and their groups, stay as they are."""
    running = {member for job in dag._running for member in jobs_of(job)}
    groups = {job: dag._group[job] for job in running if job in dag._group}
    tried_again = dag._running & dag._ready_jobs  # they failed and wait for their next attempt
    planned = len(dag)
    for job in dag.bfs(dag.depending, *ended):
        if not dag.finished(job):
            dag.reason(job).clear()
            # Of a killed run: it may have been made of inputs that are others now.
            dag.forcefiles.update(await workflow.persistence.incomplete(job))
    idle = {job for job in dag.jobs if not dag.needrun(job) and not dag.finished(job)}
    dag._finished |= idle  # what was edited since the start is for the next run
    await dag.update_needrun()
    dag._finished -= idle
    dag._len = len(dag._finished | dag._needrun)
    dag._needrun -= running
    dag.update_groups()
    dag._needrun |= running
    dag._group.update(groups)
    dag.update_ready()
    dag._ready_jobs |= tried_again
    if len(dag) < planned:
        logger.info(f"{planned - len(dag)} jobs are left out: what they read is what it was.")


def jobs_of(job):
    """The jobs of a group, or the one."""
    return list(job.jobs) if job.is_group() else [job]

"""What Snakemake would run, and why: its own dry run as data, for `plan.py`, `why.py` and the tests."""

import ast
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from snakemake.api import SnakemakeApi
from snakemake.cli import get_profile_dir, parse_args
from snakemake.exceptions import WorkflowError
from snakemake.io import is_flagged
from snakemake.logging import logger
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

sys.path.insert(0, str(Path(__file__).parents[2]))  # the package next to the Snakefile

from slpd.caches import use_writable_caches

SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"

# As in the profiles, which give the reasons.
TRIGGERS = frozenset({RerunTrigger.MTIME, RerunTrigger.PARAMS})


MISSING = "output files have to be generated"


@dataclass(frozen=True)
class PlannedJob:
    """A job that would run."""

    rule: str
    wildcards: Mapping[str, str]
    inputs: Sequence[str]
    outputs: Sequence[str]
    resources: Mapping[str, Any]  # as rules ask for them: gpu, mem_mb, runtime (minutes), threads
    params: Mapping[str, Any]
    group: str  # of the queue's jobs that it shares one with; empty: it has its own
    local: bool  # run by the head process, never submitted
    reasons: Sequence[str]  # in Snakemake's words; only "input files updated by another job": it follows another job
    updated: Sequence[str] = ()  # inputs that are newer than the outputs, and not by another job
    old_params: Sequence[Any] = ()  # params that the last run had and this one has not
    new_params: Sequence[Any] = ()
    old_inputs: Sequence[str] = ()  # files that the last run read and this one would not
    new_inputs: Sequence[str] = ()
    gone: Sequence[str] = ()  # outputs that it has made once
    needed: bool = True  # False: it would not run, its results are there
    decides: bool = False  # when it has ended, a run plans anew what follows: workflow/rules/spared.smk

    @property
    def follows(self) -> bool:
        """Whether it runs only because a job before it does."""
        return list(self.reasons) == ["input files updated by another job"]


def spared(jobs: Sequence[PlannedJob]) -> str:
    """Which of the jobs a run may leave out, in words; empty: it surely runs all."""
    renewed = (job.rule for job in jobs if job.decides and (job.gone or MISSING not in job.reasons))
    deciding = " and ".join(dict.fromkeys(renewed))
    follow = deciding and any(job.follows for job in jobs)
    return f"those that only follow {deciding} may be left out" if follow else ""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    jobs: Sequence[PlannedJob]  # in order
    groups: Mapping[
        str, tuple[str, int]
    ]  # of the profile: rule -> its group, how many of these make a job of the queue
    cores: int  # widest that a group of jobs gets
    sheets: Mapping[str, Mapping[str, Any]]  # cohort -> slide -> line of the sheet
    batches: Mapping[str, Mapping[int, list[str]]]  # cohort -> number of a batch -> its slides
    experiment: Any  # the checked config
    layout: Any  # where its results lie
    profile: str | None  # the file of the last one that was given, wherever Snakemake found it
    regions: dict[str, dict[str, float]] = field(default_factory=dict)  # cohort -> slide -> its regions, once asked for


def planned_jobs(arguments: Sequence[str] = (), folder: Path | None = None) -> Sequence[PlannedJob]:
    """The jobs that a run would start now, in order."""
    return make_plan(arguments, folder).jobs


def make_plan(arguments: Sequence[str] = (), folder: Path | None = None, every: bool = False) -> Plan:
    """What a run would do now; nothing is run, locked or written.

    Args:
        arguments: Of the snakemake command: `--configfile`, `--profile`, `--set-resources`, targets.
        folder: Where the workflow runs; None: here.
        every: Also the jobs whose results are there.

    Raises:
        SystemExit: the config or an input is at fault; the message is printed.
    """
    logger.setLevel(logging.ERROR)
    use_writable_caches()
    _, args = parse_args(["--workflow-profile", "none", "-s", str(SNAKEFILE), *arguments])
    resources = ResourceSettings(
        cores=args.cores or 1,
        overwrite_resources=args.set_resources,
        overwrite_threads=args.set_threads,
        default_resources=args.default_resources,
    )
    files = [Path(file).resolve() for file in args.configfile]
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        try:
            workflow = api.workflow(resources, ConfigSettings(configfiles=files), snakefile=SNAKEFILE, workdir=folder)
            inner = workflow.dag(
                DAGSettings(targets=args.targets, forceall=args.forceall, rerun_triggers=TRIGGERS)
            ).workflow_api._workflow
            inner._prepare_dag(forceall=args.forceall, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            inner._build_dag()
        except WorkflowError as error:
            raise SystemExit(f"error: {error}") from error
        asked = [job for level in inner.dag.toposorted() for job in level if every or inner.dag.needrun(job)]
        groups = {rule: (name, args.group_components.get(name, 1)) for rule, name in args.groups.items()}
        shared = inner.globals  # of common.smk
        lost = {str(batch): files for batch, files in shared["files_gone_of_slides"]().items()}
        jobs = [describe(job, inner, groups, lost) for job in asked if job.rule.name != "all"]
        profile = str(get_profile_dir(args.profile[-1])[1]) if args.profile else None
        return Plan(
            jobs,
            groups,
            resources.cores,
            shared["SHEETS"],
            shared["BATCHES"],
            shared["EXPERIMENT"],
            shared["LAYOUT"],
            profile,
        )


def describe(
    job: Any,  # noqa: ANN401  # untyped there
    workflow: Any,  # noqa: ANN401
    groups: Mapping[str, Any],
    lost: Mapping[str, Sequence[Path]],
) -> PlannedJob:
    """A job of Snakemake's graph as data; of a job that follows another one, its own changed params and inputs too.

    Args:
        job: The job.
        workflow: Snakemake's.
        groups: Of the profile.
        lost: Output -> files that its job has made besides, undeclared, and that are gone.
    """
    reason, records = workflow.dag.reason(job), workflow.persistence
    changed = records.params_changed(job)
    inputs = [str(path) for path in job.input]
    read = records.input(job.output[0]) if job.output else None  # None: it has not run yet
    return PlannedJob(
        rule=job.rule.name,
        wildcards=dict(job.wildcards_dict),
        inputs=inputs,
        outputs=[str(path) for path in job.output],
        resources={"threads": job.threads} | {key: value for key, value in job.resources.items() if key[0] != "_"},
        params=dict(job.params.items()),
        group=groups[job.rule.name][0] if job.rule.name in groups else group_of(job),
        local=job.rule.name in workflow._localrules,
        reasons=reasons_of(reason),
        updated=sorted(map(str, set(reason.updated_input) - set(reason.updated_input_run))),
        old_params=[as_value(text) for text in sorted(changed.only_old)],
        new_params=[as_value(text) for text in sorted(changed.only_new)],
        old_inputs=sorted(set(read or ()) - set(inputs)),
        new_inputs=sorted(set(inputs) - set(inputs if read is None else read)),
        gone=[]
        if read is None
        else sorted(
            [str(path) for path in reason.missing_output if not is_flagged(path, "temp")]
            + [str(path) for output in job.output for path in lost.get(str(output), [])]
        ),
        needed=workflow.dag.needrun(job),
        decides=job.rule.name in workflow.globals["DECIDING"],
    )


def group_of(job: Any) -> str:  # noqa: ANN401
    """The group that a job's rule gives it; `job.group` is empty where no queue is asked, as here."""
    rule = job.rule
    return str(rule.apply_input_function(rule._group, job.wildcards_dict)[0]) if rule._group else ""


def reasons_of(reason: Any) -> list[str]:  # noqa: ANN401
    """Why a job runs. That temporary outputs are gone is no cause where there is another: they always are."""
    names = set(reason.get_names())
    if all(is_flagged(path, "temp") for path in reason.missing_output) and len(names) > 1:
        names -= {MISSING}
    return sorted(names)


def shared_jobs(plan: Plan) -> dict[str, list[PlannedJob]]:
    """Group -> its jobs, in order."""
    groups: dict[str, list[PlannedJob]] = {}
    for job in plan.jobs:
        if job.group:
            groups.setdefault(job.group, []).append(job)
    return groups


def connected(jobs: Sequence[PlannedJob]) -> list[list[PlannedJob]]:
    """The connected parts of the graph of some jobs: Snakemake runs each part of a group in one job of the queue."""
    maker = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    links = [(maker[path], number) for number, job in enumerate(jobs) for path in job.inputs if path in maker]
    makers, readers = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (makers, readers)), shape=(len(jobs), len(jobs)))
    n, part_of = connected_components(graph, directed=False)
    parts: list[list[PlannedJob]] = [[] for _ in range(n)]
    for job, part in zip(jobs, part_of, strict=True):
        parts[part].append(job)
    return parts


def as_value(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """A param as Snakemake records it: its representation, of JSON where settings travel in it."""
    value = ast.literal_eval(text)
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value

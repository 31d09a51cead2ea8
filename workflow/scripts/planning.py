"""What Snakemake would run, and why: its own dry run as data, for `plan.py`, `why.py` and the tests."""

import ast
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.cli import get_profile_dir, parse_args
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

sys.path.insert(0, str(Path(__file__).parents[2]))  # the package beside the Snakefile

from slpd.caches import use_writable_caches

SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"

# Not `code`, not `software-env`: result versions say when a change of code moves results (slpd/versions.py). The
# profiles have the same list.
TRIGGERS = frozenset({RerunTrigger.MTIME, RerunTrigger.PARAMS, RerunTrigger.INPUT})


@dataclass(frozen=True)
class PlannedJob:
    """A job that would run."""

    rule: str
    wildcards: Mapping[str, str]
    inputs: Sequence[str]
    outputs: Sequence[str]
    resources: Mapping[str, Any]  # as rules ask for them: gpu, mem_mb, runtime (minutes), threads
    params: Mapping[str, Any]
    reasons: Sequence[str]  # in Snakemake's words; only "input files updated by another job": it follows another job
    updated: Sequence[str] = ()  # inputs that are newer than the outputs, and not by another job
    old_params: Sequence[Any] = ()  # params that the last run had and this one has not
    new_params: Sequence[Any] = ()

    @property
    def follows(self) -> bool:
        """Whether it runs only because a job before it does."""
        return list(self.reasons) == ["input files updated by another job"]


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    jobs: Sequence[PlannedJob]  # in order
    groups: Mapping[str, tuple[str, int]]  # rule -> name of its group of jobs, how many make one job of the queue
    cores: int  # widest that a group of jobs gets
    sheets: Mapping[str, Mapping[str, Any]]  # cohort -> slide -> line of the sheet
    experiment: Any  # the checked config
    profile: str | None  # the file of the last one that was given, wherever Snakemake found it


def planned_jobs(arguments: Sequence[str] = (), folder: Path | None = None) -> Sequence[PlannedJob]:
    """The jobs that a run would start now, in order."""
    return make_plan(arguments, folder).jobs


def make_plan(arguments: Sequence[str] = (), folder: Path | None = None) -> Plan:
    """What a run would do now; nothing is run, locked or written.

    Args:
        arguments: Of the snakemake command: `--configfile`, `--profile`, `--set-resources`, targets.
        folder: Where the workflow runs; None: here.

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
        needed = [job for level in inner.dag.toposorted() for job in level if inner.dag.needrun(job)]
        jobs = [
            describe(job, inner.dag.reason(job), inner.persistence.params_changed(job))
            for job in needed
            if job.rule.name != "all"
        ]
        groups = {rule: (name, args.group_components.get(name, 1)) for rule, name in args.groups.items()}
        profile = str(get_profile_dir(args.profile[-1])[1]) if args.profile else None
        return Plan(jobs, groups, resources.cores, inner.globals["SHEETS"], inner.globals["EXPERIMENT"], profile)


def describe(job: Any, reason: Any, changed: Any) -> PlannedJob:  # noqa: ANN401  # Snakemake's own, untyped
    """A job of Snakemake's graph as data; of a job that another one makes run, its own changed params too."""
    return PlannedJob(
        rule=job.rule.name,
        wildcards=dict(job.wildcards_dict),
        inputs=[str(path) for path in job.input],
        outputs=[str(path) for path in job.output],
        resources={"threads": job.threads} | {key: value for key, value in job.resources.items() if key[0] != "_"},
        params=dict(job.params.items()),
        reasons=sorted(reason.get_names()),
        updated=sorted(map(str, set(reason.updated_input) - set(reason.updated_input_run))),
        old_params=[as_value(text) for text in sorted(changed.only_old)],
        new_params=[as_value(text) for text in sorted(changed.only_new)],
    )


def as_value(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """A param as Snakemake records it: its representation, of JSON where settings travel in it."""
    value = ast.literal_eval(text)
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value

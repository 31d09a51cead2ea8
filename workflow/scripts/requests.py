"""Print as JSON what an experiment reads and what its jobs ask the queue for: `python -m slpd doctor` starts this.

Arguments are snakemake's.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from planning import Plan, PlannedJob, make_plan


def main() -> None:
    """Print the JSON object."""
    plan = make_plan([*sys.argv[1:], "--forceall"])
    slides = [row.path for sheet in plan.sheets.values() for row in sheet.values()]
    content = {"config": plan.experiment.model_dump(mode="json"), "slides": slides, "requests": requests(plan)}
    print(json.dumps(content | {"profile": plan.profile}))


def requests(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """What a job of the queue asks for: rule, or group of rules -> resources, the largest of its jobs'."""
    of_rule = {
        rule: largest([job for job in plan.jobs if job.rule == rule]) for rule in {job.rule for job in plan.jobs}
    }
    shared_by_rules = {job.rule for job in plan.jobs if job.group}
    alone = {rule: asked for rule, asked in sorted(of_rule.items()) if rule not in shared_by_rules}
    names = sorted({name for name, _ in plan.groups.values()})
    shared = {name: in_group(name, plan, of_rule) for name in names}
    return {name: asked for name, asked in (shared | in_series(plan) | alone).items() if asked}


def in_series(plan: Plan) -> dict[str, dict[str, Any]]:
    """What jobs ask for whose members run one after another: the groups of rules, as iterations have them."""
    groups: dict[str, list[PlannedJob]] = {}
    for job in plan.jobs:
        if job.group and job.rule not in plan.groups:
            groups.setdefault(job.group, []).append(job)
    asked: dict[str, dict[str, Any]] = {}
    for jobs in groups.values():
        runtime = sum(job.resources["runtime"] for job in jobs)
        asked["+".join(dict.fromkeys(job.rule for job in jobs))] = {**largest(jobs), "runtime": runtime}
    return asked


def largest(jobs: Sequence[PlannedJob]) -> dict[str, Any]:
    """The largest of each resource over jobs."""
    keys = dict.fromkeys(key for job in jobs for key in job.resources)
    return {key: max(job.resources[key] for job in jobs if key in job.resources) for key in keys}


def in_group(name: str, plan: Plan, of_rule: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a job that runs a group of rules asks for: side by side on all cores, one layer after another."""
    members = {rule: of_rule[rule] for rule, (group, _) in plan.groups.items() if group == name and rule in of_rule}
    if not members:
        return {}
    size = next(size for group, size in plan.groups.values() if group == name)
    most = max(sum(job.rule == rule for job in plan.jobs) for rule in members)
    beside = min(plan.cores, size, most)
    layers = math.ceil(min(size, most) / beside)
    return {
        **next(iter(members.values())),
        "threads": beside,
        "mem_mb": beside * max(asked["mem_mb"] for asked in members.values()),
        "runtime": layers * sum(asked["runtime"] for asked in members.values()),
    }


if __name__ == "__main__":
    main()

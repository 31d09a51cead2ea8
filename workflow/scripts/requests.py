"""Print as JSON what an experiment reads, what its jobs ask the queue for, and the disk that they want.

`python -m slpd doctor` starts this. Arguments are snakemake's.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from plan import n_bytes_wanted
from planning import Plan, PlannedJob, connected, make_plan, shared_jobs
from snakemake.common.tbdstring import TBDString

TBD = TBDString()


def main() -> None:
    """Print the JSON object."""
    plan = make_plan(sys.argv[1:], every=True)
    slides = [row.path for sheet in plan.sheets.values() for row in sheet.values()]
    content = {"config": plan.experiment.model_dump(mode="json"), "slides": slides, "requests": requests(plan)}
    print(json.dumps(content | {"profile": plan.profile, "n_bytes": n_bytes_wanted(plan)}))


def requests(plan: Plan) -> dict[str, dict[str, Any]]:
    """What a job of the queue asks for: rule, or group of rules -> resources, the largest of its jobs'."""
    asked: dict[str, dict[str, Any]] = {}
    for jobs in shared_jobs(plan).values():
        name = plan.groups.get(jobs[0].rule, ("+".join(dict.fromkeys(job.rule for job in jobs)),))[0]
        asked[name] = largest([*filter(None, [asked.get(name)]), in_group(jobs, plan)])
    for rule in sorted({job.rule for job in plan.jobs if not job.group and not job.local}):
        asked[rule] = largest([job.resources for job in plan.jobs if job.rule == rule])
    return asked


def largest(asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest of each resource."""
    given: dict[str, list[Any]] = {}
    for resources in asked:
        for key, value in resources.items():
            given.setdefault(key, []).append(value)
    # What depends on files that are not there yet is not known.
    return {key: max((v for v in values if not isinstance(v, TBDString)), default=TBD) for key, values in given.items()}


def in_group(jobs: Sequence[PlannedJob], plan: Plan) -> dict[str, Any]:
    """What a job of the queue asks for that runs some parts of a group: side by side on all cores, in layers.

    The jobs of a part follow one another.
    """
    parts = connected(jobs)
    size = min(len(parts), plan.groups.get(jobs[0].rule, ("", 1))[1])
    every = largest([job.resources for job in jobs])
    beside = min(max(1, plan.cores // every["threads"]), size)
    return {
        **every,
        "threads": beside * every["threads"],
        "mem_mb": beside * every["mem_mb"],
        "runtime": math.ceil(size / beside) * max(sum(job.resources["runtime"] for job in part) for part in parts),
    }


if __name__ == "__main__":
    main()

"""What the stages of an experiment took."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from slpd.artifacts.runs.job_costs import JobCost


@dataclass(frozen=True)
class StageCost:
    """All measured jobs of a stage."""

    stage: str
    n_jobs: int
    hours: float  # from start to end, over all jobs
    longest_hours: float
    gpu_hours: float  # hours times the GPUs that a job holds
    cpu_hours: float
    memory_gb: float  # of the largest job; NaN: too short to be measured


def stage_costs(jobs: Sequence[JobCost], gpus: Mapping[str, int]) -> list[StageCost]:
    """The cost of every stage, in order of first appearance, the sum last.

    Args:
        jobs: What every job took.
        gpus: Stage -> GPUs that a job holds; the others hold none.
    """
    stages = {stage: [job for job in jobs if job.stage == stage] for stage in dict.fromkeys(job.stage for job in jobs)}
    costs = [stage_cost(stage, of_stage, gpus.get(stage, 0)) for stage, of_stage in stages.items()]
    if not costs:
        return []
    total = stage_cost("all", jobs, n_gpus=0)
    return [*costs, replace(total, gpu_hours=sum(cost.gpu_hours for cost in costs))]


def stage_cost(stage: str, jobs: Sequence[JobCost], n_gpus: int) -> StageCost:
    """The cost of one stage."""
    hours = sum(job.seconds for job in jobs) / 3600
    memory = [job.memory_mb for job in jobs if not math.isnan(job.memory_mb)]
    return StageCost(
        stage=stage,
        n_jobs=len(jobs),
        hours=hours,
        longest_hours=max(job.seconds for job in jobs) / 3600,
        gpu_hours=hours * n_gpus,
        cpu_hours=sum(job.cpu_seconds for job in jobs if not math.isnan(job.cpu_seconds)) / 3600,
        memory_gb=max(memory) / 1000 if memory else math.nan,
    )

"""What heavy jobs took (`benchmarks/<stage>/.../*.tsv`), as Snakemake measures them: one line per repetition."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class JobCost:
    """What a job took at its last run."""

    stage: str
    job: str  # names of its wildcards, separated by spaces
    seconds: float
    cpu_seconds: float  # NaN: too short to be measured
    memory_mb: float  # largest resident size; NaN: too short to be measured


def read_job_costs(folder: Path) -> list[JobCost]:
    """What every measured job took, by stage and job; a folder that is not there holds none."""
    return [read_cost(folder, path) for path in sorted(folder.rglob("*.tsv"))]


def read_cost(folder: Path, path: Path) -> JobCost:
    """One file; of repetitions the last."""
    last = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]  # Snakemake writes - or NA in place of a number
    stage, *job = path.relative_to(folder).with_suffix("").parts
    return JobCost(stage, " ".join(job), float(last["s"]), float(last["cpu_time"]), float(last["max_rss"]))

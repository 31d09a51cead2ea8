"""What heavy jobs took (`benchmarks/<stage>/.../*.tsv`), as Snakemake measures them: one line per repetition."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path


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
    with open(path, newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file, delimiter="\t"))[-1]
    stage, *job = path.relative_to(folder).with_suffix("").parts
    return JobCost(stage, " ".join(job), float(cells["s"]), number(cells["cpu_time"]), number(cells["max_rss"]))


def number(cell: str) -> float:
    """A cell; NaN for what Snakemake writes in place of a number."""
    try:
        return float(cell)
    except ValueError:
        return math.nan

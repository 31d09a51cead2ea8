"""The toy with a second cohort, on which heads and encoders of the first are only tested."""

from pathlib import Path
from typing import Any

import toy

TASK: dict[str, Any] = {
    "name": "dx_away",
    "cohort": "toy",
    "test_cohort": "away",
    "label": "dx",
    "classes": ["a", "b"],
    "folds": {"kind": "all", "validation_fraction": 0.3, "seed": 0},
}


def add_away(folder: Path, make_slide: toy.MakeSlide) -> None:
    """Four slides of four patients, in a sheet of their own."""
    lines = ["slide,path,patient,mpp,dx"]
    for i in range(20, 24):
        make_slide(folder / f"slides/s{i}.tiff", toy.tissue_picture(i), mpp=0.5)
        lines.append(f"s{i},slides/s{i}.tiff,p{i},,{'ab'[i % 2]}")
    (folder / "away.csv").write_text("\n".join(lines) + "\n")


# What heads say of the second cohort: those that are tested on it, and those of the folds of the first.
PREDICTIONS = [
    {"name": "tested", "cohort": "away", "task": "dx_away", "variant": "slpd", "head": "abmil"},
    {"name": "folds", "cohort": "away", "task": "dx", "variant": "slpd", "head": "abmil"},
]


def with_away(config: dict[str, Any]) -> None:
    """Add cohort, task, a table of both variants, and predictions."""
    config["cohorts"].append({"name": "away", "sheet": "away.csv"})
    config["tasks"].append(TASK)
    config["predictions"] = PREDICTIONS
    config["tables"].append({**config["tables"][0], "name": "away", "tasks": ["dx_away"]})

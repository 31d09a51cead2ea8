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


def with_away(config: dict[str, Any]) -> None:
    """Add cohort, task, and a table of both variants."""
    config["cohorts"].append({"name": "away", "sheet": "away.csv"})
    config["tasks"].append(TASK)
    config["tables"].append({**config["tables"][0], "name": "away", "tasks": ["dx_away"]})

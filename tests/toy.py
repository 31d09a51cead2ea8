"""A cohort of ten tiny slides and a config for it: the whole pipeline in about a minute on two cores."""

import copy
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
REGION_PX = 256  # at 0.5 µm/px: 128 µm

TOY: dict[str, Any] = {
    "experiment": "toy",
    "cohorts": [{"name": "toy", "sheet": "slides.csv"}],
    "tissue": {"min_area_mm2": 0.01, "min_hole_mm2": 0.01},
    "regions": {"region_px": REGION_PX, "min_tissue": 0.5},
    "patch_encoder": {
        "arguments": {"img_size": 16, "patch_size": 16, "depth": 1},
        "checkpoint": None,
        "sha256": None,
        "patch_px": 16,
    },
    "manifest": {"max_failed_fraction": 0.2},
    "jobs": {"batch_patches": 1024, "iterations_per_job": 1},
    "region_encoder": {"depth": 1, "head_width": 64, "bottleneck": 32, "outputs": 128},
    "training": {
        "epochs": 3,
        "dino_epochs": 1,
        "batch_size": 16,
        "learning_rate_warmup_epochs": 1,
        "n_local_views": 2,
    },
    "prototypes": {"n_prototypes": 2, "min_regions": 4},
    "variants": [{"name": "dino", "objective": {"intra": 0, "inter": 0}}, {"name": "slpd"}],
    "tasks": [
        {
            "name": "dx",
            "cohort": "toy",
            "label": "dx",
            "classes": ["a", "b"],
            "folds": {"kind": "generated", "n_folds": 2, "validation_fraction": 0.3, "seed": 0},
        }
    ],
    "heads": [
        {
            "name": "abmil",
            "kind": "abmil",
            "preset": "modern",
            "gated": True,
            "embedding": 16,
            "attention": 8,
            "dropout": 0.0,
        },
        {"name": "knn", "kind": "knn", "k": 1},
    ],
    "head_presets": {"modern": {"epochs": 3}},
    "intervals": {"n_resamples": 100},
    "tables": [
        {
            "name": "toy",
            "caption": "Toy",
            "tasks": ["dx"],
            "variants": ["dino", "slpd"],
            "heads": ["abmil", "knn"],
            "metrics": ["auc", "accuracy"],
        }
    ],
}

MakeSlide = Callable[..., Any]


def one_variant() -> dict[str, Any]:
    """The config with the method alone."""
    config = copy.deepcopy(TOY)
    config["variants"] = [{"name": "slpd"}]
    config["tables"][0]["variants"] = ["slpd"]
    return config


def make_toy(folder: Path, make_slide: MakeSlide, config: dict[str, Any] | None = None) -> None:
    """Write ten slides, one of them garbage, their sheet and the config into `folder`."""
    lines = ["slide,path,patient,mpp,dx"]
    for i in range(10):
        path = folder / "slides" / f"s{i}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i == 9:
            path.write_bytes(b"this is no slide")
        else:
            make_slide(path, tissue_picture(i), mpp=0.5)
        lines.append(f"s{i},slides/s{i}.tiff,p{i},,{'ab'[i % 2]}")
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    (folder / "toy.yaml").write_text(yaml.safe_dump(config or TOY))


def finished_toy(base: Path, folder: Path, make_slide: MakeSlide) -> None:
    """Copy the toy, which has been run to the end, to `folder`.

    Args:
        base: It lies and is run under this folder, once for all that ask with the same one, from any process.
        folder: The copy, for the caller alone.
        make_slide: Writes slides.
    """
    finished, done = base / "toy", base / "toy.done"
    with open(base / "toy.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make_toy(finished, make_slide)
            run = snakemake(finished, "--workflow-profile", str(ROOT / "workflow/profiles/default"))
            assert run.returncode == 0, run.stdout + run.stderr
            done.touch()
    shutil.copytree(finished, folder, symlinks=True)  # times stay, and what Snakemake remembers


def tissue_picture(seed: int) -> NDArray[np.uint8]:
    """(1024, 1280, 3) RGB: a disc of purple, grainy tissue on glass; odd seeds are coarser in grain."""
    rng = np.random.default_rng(seed)
    height, width, grain = 1024, 1280, 8 * (1 + seed % 2)
    coarse = rng.integers(-40, 40, (height // grain, width // grain, 1)).repeat(grain, 0).repeat(grain, 1)
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / (height * 0.47)) ** 2 + ((columns - width / 2) / (width * 0.47)) ** 2 < 1
    tissue = np.array([170, 90, 160]) + coarse + rng.integers(-15, 15, (height, width, 3))
    return np.where(inside[..., None], tissue, 243).clip(0, 255).astype(np.uint8)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in `folder`."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def command(*arguments: str) -> list[str]:
    """The command line that runs the workflow on the toy config."""
    head = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2"]
    return [*head, "--configfile", "toy.yaml", *arguments]


def environment() -> dict[str, str]:
    """The environment with this interpreter's programs first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs that a dry run plans, without those that only collect."""
    run = snakemake(folder, "--dry-run", "--quiet", "rules", *arguments)
    assert run.returncode == 0, run.stderr
    jobs = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in jobs if rule not in ("all", "tables", "total")}


def edited(folder: Path, edit: Callable[[dict[str, Any]], None]) -> Sequence[str]:
    """Arguments that run the workflow in `folder` with an edited toy config."""
    config = yaml.safe_load((folder / "toy.yaml").read_text())
    edit(config)
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["--configfile", str(path)]

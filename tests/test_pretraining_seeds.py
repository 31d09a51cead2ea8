"""Pretraining repeated with other seeds, and variants with a warm-up of their own: what runs, and what comes of it."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import external
import h5py
import numpy as np
import pytest
import toy

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import PlannedJob, planned_jobs

pytestmark = pytest.mark.workflow

RESULTS = Path("results/toy")
PRETRAINING = {"pretrain_dino", "distill_slpd", "collect_iterations"}


def with_seeds(*seeds: int) -> Callable[[dict[str, Any]], None]:
    """An edit: pretraining is repeated with these seeds, and iterations are trained by one job."""

    def edit(config: dict[str, Any]) -> None:
        config["pretraining_seeds"] = list(seeds)
        config["jobs"]["iterations_per_job"] = None
        config["tables"][0]["heads"] = ["knn"]

    return edit


def jobs_of(folder: Path, edit: Callable[[dict[str, Any]], None]) -> list[PlannedJob]:
    """The jobs that a run with an edited config would start."""
    return planned_jobs(toy.edited(folder, edit), folder)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def repeated(finished_toy: Path) -> Path:
    """The finished toy, run on with three seeds."""
    first = times_of_results(finished_toy)
    jobs = jobs_of(finished_toy, with_seeds(0, 1, 2))
    assert {job.wildcards["start"] for job in jobs if job.rule == "pretrain_dino"} == {".seed1", ".seed2"}
    variants = {job.wildcards["variant"] for job in jobs if "variant" in job.wildcards}
    assert variants == {f"{name}.seed{seed}" for name in ("dino", "slpd") for seed in (1, 2)}
    profile = ("--workflow-profile", str(toy.ROOT / "workflow/profiles/default"))
    run = toy.snakemake(finished_toy, *profile, *toy.edited(finished_toy, with_seeds(0, 1, 2)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert first.items() <= times_of_results(finished_toy).items()
    return finished_toy


def times_of_results(folder: Path) -> dict[Path, int]:
    """When what variants have learned was written."""
    files = (folder / RESULTS / "cohorts/toy/variants").rglob("*")
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in files if path.is_file()}


def test_a_changed_list_runs_the_new_seed_alone(repeated: Path) -> None:
    jobs = jobs_of(repeated, with_seeds(2, 3, 0))
    trained = [job for job in jobs if job.rule in PRETRAINING]
    assert all(set(job.wildcards.values()) & {"dino.seed3", "slpd.seed3", ".seed3"} for job in trained)
    assert {job.rule for job in trained} == PRETRAINING
    assert {job.wildcards["variant"] for job in jobs if job.rule == "evaluate"} == {"dino.seed3", "slpd.seed3"}
    assert not [job for job in jobs_of(repeated, with_seeds(0, 2)) if job.rule not in ("make_table", "make_report")]


def test_seeds_differ_in_their_weights_and_share_all_else(repeated: Path) -> None:
    """Of one seed, both variants go on from one warm-up; of another one from another."""
    cohort = repeated / RESULTS / "cohorts/toy"
    assert sorted(path.name for path in cohort.glob("warmup*")) == ["warmup", "warmup.seed1", "warmup.seed2"]
    vectors = {}
    for name in ("slpd", "slpd.seed1", "slpd.seed2"):
        with h5py.File(cohort / f"variants/{name}/bags.h5") as file:
            vectors[name] = file["features"][:]
    assert len({array.shape for array in vectors.values()}) == 1
    assert not np.allclose(vectors["slpd"], vectors["slpd.seed1"]) and not np.allclose(
        vectors["slpd.seed1"], vectors["slpd.seed2"]
    )


def test_a_cell_is_the_mean_over_seeds_of_the_means_over_folds(repeated: Path) -> None:
    means = [
        np.mean([float(row["accuracy"]) for row in rows(repeated / RESULTS / f"tasks/dx/{name}/knn/metrics.csv")])
        for name in ("slpd", "slpd.seed1", "slpd.seed2")
    ]
    (cell,) = (
        row
        for row in rows(repeated / RESULTS / "tables/toy.csv")
        if (row["variant"], row["metric"]) == ("slpd", "accuracy")
    )
    assert float(cell["mean"]) == pytest.approx(np.mean(means))
    assert float(cell["std"]) == pytest.approx(np.std(means, ddof=1))
    assert (cell["n_seeds"], cell["head"]) == ("3", "knn")
    page = (repeated / RESULTS / "report/results-toy.html").read_text()
    assert "over 3 pretraining seeds" in page and "several pretraining seeds, the mean of a seed" in page


def test_a_test_cohort_is_read_by_the_encoder_of_every_seed(repeated: Path, make_slide: toy.MakeSlide) -> None:
    def edit(config: dict[str, Any]) -> None:
        external.with_away(config)
        config["predictions"] = []  # of a head that is not evaluated here
        with_seeds(0, 1, 2)(config)

    external.add_away(repeated, make_slide)
    outputs = [path for job in jobs_of(repeated, edit) if job.rule == "embed_bags" for path in job.outputs]
    names = [f"{name}{seed}" for name in ("dino", "slpd") for seed in ("", ".seed1", ".seed2")]
    assert sorted(outputs) == sorted(f"{RESULTS}/cohorts/away/variants/{name}/of_toy/bags.h5" for name in names)


def test_variants_that_start_alike_share_a_warm_up(repeated: Path) -> None:
    """Of three variants with training or encoders of their own, two agree; seeds repeat them all."""

    def edit(config: dict[str, Any]) -> None:
        with_seeds(0, 1)(config)
        shorter = {"training": {"clip_norm": 1.0}}
        config["variants"] += [
            {"name": "clipped", **shorter},
            {"name": "clipped_dino", **shorter, "objective": {"intra": 0, "inter": 0}},
            {"name": "deep", "region_encoder": {"depth": 2}},
            {"name": "deep_random", "random": {"seed": 0}, "region_encoder": {"depth": 2}},
        ]
        config["tables"][0]["variants"] += ["clipped", "clipped_dino", "deep", "deep_random"]

    jobs = jobs_of(repeated, edit)
    starts = [job.wildcards["start"] for job in jobs if job.rule == "pretrain_dino"]
    changes = {'"clip_norm":1.0': "", '"depth":2': ""}
    for job in jobs:
        for text in changes if job.rule == "pretrain_dino" else ():
            if text in str(job.params):
                changes[text] = job.wildcards["start"].removesuffix(".seed1")
    clipped, deep = changes.values()
    assert sorted(starts) == sorted([clipped, f"{clipped}.seed1", deep, f"{deep}.seed1"])
    read = {
        job.wildcards["variant"]: path
        for job in jobs
        if job.rule == "distill_slpd"
        for path in job.inputs
        if path.endswith("checkpoint.pt")
    }
    folder = f"{RESULTS}/cohorts/toy/warmup"
    assert read == {
        f"{name}{seed}": f"{folder}{of}{seed}/checkpoint.pt"
        for name, of in (("clipped", clipped), ("clipped_dino", clipped), ("deep", deep))
        for seed in ("", ".seed1")
    }
    (drawn,) = (job for job in jobs if job.rule == "draw_encoder")
    assert '"depth":2' in drawn.params["encoder"]

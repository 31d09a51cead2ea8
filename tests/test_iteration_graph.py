"""The graph of iterations: which nodes a variant has; their number changes no result and repeats nothing."""

import copy
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

from planning import PlannedJob, planned_jobs

from slpd.settings.load import load_experiment

pytestmark = pytest.mark.workflow

PROFILE = ("--workflow-profile", str(toy.ROOT / "workflow/profiles/default"))
ITERATIONS = 5  # that are planned
TRAINED = 3  # that are trained: a block of two and a shorter one
OBJECTIVES = {"dino": {"intra": 0, "inter": 0}, "intra": {"inter": 0}, "inter": {"intra": 0}, "slpd": {}}
TARGETS = [f"results/toy/cohorts/toy/variants/{name}" for name in ("dino/metrics.csv", "slpd/graph.npz")]
# Files of a variant that are there when all is over.
RESULTS = ("teacher.safetensors", "embeddings.h5", "metrics.csv", "iterations.npz", "prototypes.npz", "graph.npz")


def config(iterations_per_job: int | None) -> dict[str, Any]:
    """The toy with a variant of every kind, and five iterations."""
    content = copy.deepcopy(toy.TOY)
    content["training"].update(epochs=1 + ITERATIONS)
    content["jobs"]["iterations_per_job"] = iterations_per_job
    content["variants"] = [{"name": name, "objective": objective} for name, objective in OBJECTIVES.items()]
    level = {"level": "cohort", "n_prototypes": 3}
    content["variants"].append({"name": "global", "objective": {"inter": 0}, "prototypes": level})
    content["variants"].append({"name": "rarely", "epochs_per_iteration": 3})
    content["tables"][0].update(variants=[variant["name"] for variant in content["variants"]], heads=["knn"])
    return content


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """A folder with slides, of which nothing has run."""
    folder = tmp_path_factory.mktemp("slides")
    toy.make_toy(folder, make_slide, config(1))
    return folder


def planned(folder: Path, iterations_per_job: int | None) -> list[PlannedJob]:
    """The jobs of iterations that a run would start."""
    (folder / "toy.yaml").write_text(yaml.safe_dump(config(iterations_per_job)))
    rules = ("cluster_regions", "link_slides", "distill_slpd", "collect_iterations")
    return [job for job in planned_jobs(["--configfile", str(folder / "toy.yaml")], folder) if job.rule in rules]


@pytest.mark.parametrize(("iterations_per_job", "blocks", "rare_blocks"), [(1, 5, 2), (2, 3, 1), (None, 1, 1)])
def test_a_variant_has_the_nodes_that_its_terms_need(
    slides: Path, iterations_per_job: int | None, blocks: int, rare_blocks: int
) -> None:
    """Clusters and links before every block that needs them, and of the trained encoder at the end."""
    found: dict[str, Counter[str]] = {name: Counter() for name in (*OBJECTIVES, "global", "rarely")}
    for job in planned(slides, iterations_per_job):
        found[job.wildcards["variant"]][job.rule] += 1
    one = {"collect_iterations": 1}
    assert found == {
        "dino": {"distill_slpd": blocks, **one},
        "intra": {"cluster_regions": blocks + 1, "link_slides": 1, "distill_slpd": blocks, **one},
        "inter": {"cluster_regions": blocks + 1, "link_slides": blocks + 1, "distill_slpd": blocks, **one},
        "slpd": {"cluster_regions": blocks + 1, "link_slides": blocks + 1, "distill_slpd": blocks, **one},
        "global": {"cluster_regions": blocks, "distill_slpd": blocks, **one},
        "rarely": {
            **{"cluster_regions": rare_blocks + 1, "link_slides": rare_blocks + 1, "distill_slpd": rare_blocks},
            **one,
        },
    }


def test_blocks_follow_each_other_in_the_order_of_the_method(slides: Path) -> None:
    """Embeddings -> prototypes -> slide graph -> training -> embeddings, as files."""
    folder = "results/toy/cohorts/toy/variants/slpd/iterations"
    reads = {job.outputs[0]: set(job.inputs) for job in planned(slides, 2)}
    warm_up = "results/toy/cohorts/toy/warmup"
    for first, until in ((0, 2), (2, 4), (4, 5)):
        before = f"{folder}/{first:03d}.h5" if first else f"{warm_up}/embeddings.h5"
        prototypes, graph = (f"{folder}/{first:03d}/{name}.npz" for name in ("prototypes", "graph"))
        assert reads[prototypes] == {before}
        assert reads[graph] == {prototypes}
        trained = {"results/toy/cohorts/toy/used.txt", f"{warm_up}/checkpoint.pt", prototypes, graph}
        assert reads[f"{folder}/{until:03d}.h5"] == trained


@pytest.mark.parametrize(("length", "until", "first"), [(1, 5, 4), (2, 5, 4), (2, 4, 2), (20, 79, 60), (None, 79, 0)])
def test_where_the_block_begins_that_ends_somewhere(length: int | None, until: int, first: int) -> None:
    defaults = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    defaults["jobs"]["iterations_per_job"] = length
    assert load_experiment(defaults).first_of_block(until) == first


@pytest.fixture(scope="module")
def finished(finished_toy: Path) -> Path:
    """A folder in which the method and plain DINO have been trained, a job for every iteration, on the toy's tokens."""
    for trained in ("warmup", "variants"):
        shutil.rmtree(finished_toy / "results/toy/cohorts/toy" / trained)
    (finished_toy / "toy.yaml").write_text(yaml.safe_dump(short(config(1))))
    run = toy.snakemake(finished_toy, *PROFILE, "--", *TARGETS)
    assert run.returncode == 0, run.stdout + run.stderr
    return finished_toy


def short(content: dict[str, Any]) -> dict[str, Any]:
    """Without the variants and the iterations that add nothing here."""
    content["training"]["epochs"] = 1 + TRAINED
    content["variants"] = [variant for variant in content["variants"] if variant["name"] in ("dino", "slpd")]
    content["tables"][0]["variants"] = ["dino", "slpd"]
    return content


@pytest.mark.parametrize("iterations_per_job", [2, None])
def test_other_blocks_of_a_finished_run_repeat_nothing(finished: Path, iterations_per_job: int | None) -> None:
    (finished / "other.yaml").write_text(yaml.safe_dump(short(config(iterations_per_job))))
    assert toy.planned(finished, *PROFILE, "--configfile", "other.yaml", "--", *TARGETS) == {}


def test_the_number_of_iterations_per_job_changes_no_byte(finished: Path, tmp_path: Path) -> None:
    """Trained anew in blocks of two, from the same warm-up: every file of the variants is the same."""
    folder = shutil.copytree(finished, tmp_path / "blocks", symlinks=True)
    variants = folder / "results/toy/cohorts/toy/variants"
    shutil.rmtree(variants / "slpd")
    (folder / "toy.yaml").write_text(yaml.safe_dump(short(config(2))))
    run = toy.snakemake(folder, *PROFILE, "--", *TARGETS)
    assert run.returncode == 0, run.stdout + run.stderr
    expected = finished / "results/toy/cohorts/toy/variants/slpd"
    for name in RESULTS:
        assert (variants / "slpd" / name).read_bytes() == (expected / name).read_bytes(), name
    for iteration in range(TRAINED):
        for name in ("prototypes.npz", "graph.npz"):
            path = Path(f"iterations/{iteration:03d}", name)
            assert (variants / "slpd" / path).read_bytes() == (expected / path).read_bytes(), path


def test_a_result_that_is_gone_is_handed_out_again(finished: Path, tmp_path: Path) -> None:
    """All that Snakemake knows of a variant's training is deleted: no epoch is trained."""
    folder = shutil.copytree(finished, tmp_path / "gone", symlinks=True)
    variant = folder / "results/toy/cohorts/toy/variants/slpd"
    kept = {name: (variant / name).read_bytes() for name in RESULTS}
    for name in RESULTS:
        (variant / name).unlink()
    shutil.rmtree(variant / "iterations")
    run = toy.snakemake(folder, *PROFILE, "--", *TARGETS)
    assert run.returncode == 0, run.stdout + run.stderr
    logs = [path.read_text() for path in (folder / "logs/toy/distill_slpd/toy/slpd").glob("*.log")]
    assert len(logs) == TRAINED
    assert not [log for log in logs if "epoch" in log]
    assert {name: (variant / name).read_bytes() for name in RESULTS} == kept
    assert sorted(path.name for path in (variant / "iterations").iterdir()) == [f"{i:03d}" for i in range(TRAINED)]

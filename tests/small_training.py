"""A cohort of token files and the settings of a training that takes milliseconds per step, for tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from slpd.__main__ import main
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.settings.jobs import Jobs
from slpd.settings.training import Objective, Prototypes, RegionEncoder, SlideGraph, Training
from slpd.training.learner import Learner
from slpd.training.precision import Precision

torch.set_num_threads(1)  # several would spend their time waiting for each other on work this small
os.environ["OMP_NUM_THREADS"] = "1"  # the same in processes that tests start

GRID, TOKEN_WIDTH = 6, 8
N_REGIONS = {"a": 6, "b": 9, "c": 2, "d": 7}  # c stays below MIN_REGIONS
MIN_REGIONS = 4

ENCODER = RegionEncoder(
    width=12, depth=2, heads=2, drop_path=0.2, position_grid=5, head_width=16, bottleneck=8, outputs=20
)
TRAINING = Training(
    epochs=4,
    dino_epochs=2,
    epochs_per_iteration=1,
    batch_size=8,
    learning_rate=0.02,
    final_learning_rate=1e-6,
    learning_rate_warmup_epochs=1,
    weight_decay=0.04,
    final_weight_decay=0.4,
    clip_norm=3.0,
    freeze_last_layer_epochs=1,
    teacher_momentum=0.9,
    student_temperature=0.1,
    teacher_temperature=0.04,
    centre_momentum=0.9,
    global_crop=5,
    local_crop=3,
    n_local_views=2,
    seed=0,
)
JOBS = Jobs(
    batch_patches=256,
    copy_to=None,
    shared_tokens=None,
    tokens="auto",
    regions_at_once=None,
    iterations_per_job=None,
    attention="auto",
    checkpoint_minutes=60,
)
FLOAT32 = Precision(torch.device("cpu"), torch.float32)
OBJECTIVE = Objective(intra=1, inter=0.5, prototype_views="all", prototype_centre="own")
PROTOTYPES = Prototypes(
    n_prototypes=3, min_regions=MIN_REGIONS, features="bottleneck", kmeans_iterations=10, kmeans_restarts=3, seed=0
)
SLIDE_GRAPH = SlideGraph(n_neighbours=1, correspondence="matching")


def write_cohort(folder: Path) -> Path:
    """Write token files and their manifest; the path of the manifest."""
    generator, rows = np.random.default_rng(0), []
    for slide, n in N_REGIONS.items():
        kinds = generator.normal(size=(3, 1, TOKEN_WIDTH))[generator.integers(0, 3, n)]
        features = (kinds + generator.normal(size=(n, GRID**2, TOKEN_WIDTH))).astype(np.float16)
        source = TokenSource(slide, f"fingerprint-{slide}", "encoder", "random-0", "openslide", 4, 24, 24, 1, 1, 1, 1)
        path = folder / f"{slide}.h5"
        write_tokens(path, features, np.arange(2 * n).reshape(n, 2), source)
        rows.append(ManifestRow(SlideRecord(slide=slide, path=f"{slide}.svs"), path))
    write_manifest(folder / "slides.csv", rows)
    return folder / "slides.csv"


def recipe_arguments(manifest: Path, out: Path, training: Training, jobs: Jobs) -> list[str]:
    """The inputs that both training stages have."""
    return [
        *("--manifest", str(manifest), "--encoder", ENCODER.model_dump_json(), "--live", f"{out}_live"),
        *("--training", training.model_dump_json(), "--jobs", jobs.model_dump_json()),
    ]


def output_arguments(out: Path) -> list[str]:
    """The outputs of `pretrain_dino` and `collect_iterations`."""
    return ["--teacher", f"{out}.safetensors", "--embeddings", f"{out}.h5", "--metrics", f"{out}.csv"]


def pretrain_arguments(manifest: Path, out: Path, training: Training = TRAINING, jobs: Jobs = JOBS) -> list[str]:
    """The command line of `pretrain_dino`, after the stage's name."""
    return [*recipe_arguments(manifest, out, training, jobs), *output_arguments(out), "--checkpoint", f"{out}.pt"]


def distill_arguments(
    manifest: Path,
    out: Path,
    warm: Path,
    objective: Objective = OBJECTIVE,
    training: Training = TRAINING,
    jobs: Jobs = JOBS,
    prototypes: Prototypes = PROTOTYPES,
) -> list[str]:
    """The command line of `distill_slpd`, after the stage's name, from the warm-up `<warm>.*`: all iterations."""
    return [
        *recipe_arguments(manifest, out, training, jobs),
        *("--folder", f"{out}_training", "--iterations", f"{out}_iterations", "--out", f"{out}_last.h5"),
        *("--start", f"{warm}.pt", "--objective", objective.model_dump_json()),
        *("--prototypes", prototypes.model_dump_json(), "--slide-graph", SLIDE_GRAPH.model_dump_json()),
    ]


def collect_arguments(out: Path, objective: Objective = OBJECTIVE, training: Training = TRAINING) -> list[str]:
    """The command line of `collect_iterations` after `distill_arguments`."""
    return [
        *("--folder", f"{out}_training", "--last-embeddings", f"{out}_last.h5"),
        *("--n-iterations", str(training.n_iterations), "--objective", objective.model_dump_json()),
        *(*output_arguments(out), "--iterations", f"{out}.npz"),
    ]


def train_variant(
    manifest: Path,
    out: Path,
    warm: Path,
    objective: Objective = OBJECTIVE,
    training: Training = TRAINING,
    jobs: Jobs = JOBS,
    prototypes: Prototypes = PROTOTYPES,
) -> None:
    """All iterations in one job, laid out as `<out>.*`."""
    stage("distill_slpd", *distill_arguments(manifest, out, warm, objective, training, jobs, prototypes))
    stage("collect_iterations", *collect_arguments(out, objective, training))


def train_block(first: int, until: int, out: Path, warm: Path, arguments: list[str]) -> None:
    """The jobs of a block of iterations, as the rules of the workflow run them; `arguments` of `distill_arguments`."""
    given = out.with_name(f"{out.name}_iterations") / f"{first:03d}"
    before = f"{out}_{first}.h5" if first else f"{warm}.h5"
    section = {arguments[i]: arguments[i + 1] for i in range(0, len(arguments), 2)}
    prototypes, graph = ("--out", str(given / "prototypes.npz")), ("--out", str(given / "graph.npz"))
    stage("cluster_regions", "--embeddings", before, "--settings", section["--prototypes"], *prototypes)
    stage("link_slides", "--prototypes", prototypes[1], "--settings", section["--slide-graph"], *graph)
    files = ("--first-prototypes", prototypes[1], "--first-graph", graph[1], "--out", f"{out}_{until}.h5")
    stage("distill_slpd", *arguments, "--first", str(first), "--until", str(until), *files)


def stage(name: str, *arguments: str) -> None:
    """Run a stage in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["slpd", name, *arguments])
        assert main() == 0


def stop_at_every_step(patched: pytest.MonkeyPatch, after: int = 1) -> None:
    """Have a queue ask training to stop (SIGTERM) in each step from number `after` on."""
    step, taken = Learner.step, []

    def stop(*args: object) -> torch.Tensor:
        taken.append(0)
        if len(taken) >= after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)  # type: ignore[arg-type]

    patched.setattr(Learner, "step", stop)


def kill_after_saves(name: str, arguments: list[str], resume: Path, result: Path, times: int) -> None:
    """Start a training stage and kill it (SIGKILL) soon after it has saved itself; and again."""
    saved_at = 0.0
    for _ in range(times):
        process = subprocess.Popen([sys.executable, "-m", "slpd", name, *arguments])
        while not resume.exists() or resume.stat().st_mtime == saved_at:
            assert process.poll() is None, "finished before it was killed"
            time.sleep(0.001)
        time.sleep(0.05)
        process.kill()
        process.wait()
        assert not result.exists()
        saved_at = resume.stat().st_mtime

"""What the released schedule costs outside training at the size of TCGA-NSCLC, by iterations per job, on this machine.

Every part is timed once, as processor time: processes of the stages start and import, a job of `distill_slpd` reads
62,853 regions of tokens, the warm-up's checkpoint for its hash, and its state, and writes state and embeddings;
prototypes are made and slides linked, by their own processes before a block of iterations and within training between
two of its iterations. A schedule adds them up. Training itself is not run: its time follows from --speed. What only a
GPU has is given: --device is what CUDA takes to start and networks to compile from torch's cache, in each job.
Embedding regions belongs to the GPU, too: its operations are given as a share of the training's. The last line is JSON.
Usage: `python -m benchmarks.schedule [--speed 10000] [--device 10]`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.prototypes import PROTOTYPES, SLIDE_GRAPH, draw
from benchmarks.training import GRID, TOKEN_WIDTH, operations_of_view, operations_per_region, settings
from slpd.artifacts.learned.embeddings import CohortEmbeddings, write_embeddings
from slpd.artifacts.learned.training_folder import TrainingFolder
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.runs.run_manifest import sha256_of
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.training.learner import Learner
from slpd.training.precision import Precision
from slpd.training.progress import Progress
from slpd.training.renewal import renewing
from slpd.training.resume import ResumeFile

SLIDES, REGIONS = 1041, 62_853  # TCGA-NSCLC as SLPD's authors pretrained on it
ITERATIONS, EPOCHS = 79, 100
CHECKPOINT_SECONDS = 600
PER_JOB = (1, 3, 8, 16, 20, 40, ITERATIONS)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of some work and of the processes it waits for, the least of three times."""
    times = []
    for _ in range(3):
        started = os.times()
        work()
        times.append(sum(os.times()[:4]) - sum(started[:4]))
    return min(times)


def write_cohort(folder: Path, counts: np.ndarray) -> Path:
    """Token files with this many regions each, and their manifest."""
    region = np.random.default_rng(0).normal(size=(GRID**2, TOKEN_WIDTH)).astype(np.float16)
    rows = []
    for slide, n in enumerate(counts.tolist()):
        path, name = folder / f"{slide}.h5", f"slide_{slide:04d}"
        write_tokens(path, (region for _ in range(n)), np.zeros((n, 2), np.int64), TokenSource(name, name))
        rows.append(ManifestRow(SlideRecord(slide=name, path=f"{name}.svs"), path))
    write_manifest(folder / "slides.csv", rows)
    return folder / "slides.csv"


def read_tokens(manifest: Path) -> None:
    """Open the cohort and read every region, as training does when it fills its memory."""
    cohort = open_cohort_tokens(manifest)
    target = torch.empty((256, GRID, GRID, TOKEN_WIDTH), dtype=torch.float16)
    for _, values in cohort.by_slide(np.arange(cohort.n_regions)):
        for start in range(0, len(values), len(target)):
            part = values[start : start + len(target)]
            target[: len(part)] = torch.from_numpy(part)


def embeddings(counts: np.ndarray) -> CohortEmbeddings:
    """Drawn embeddings of a cohort."""
    vectors = draw(np.random.default_rng(1), len(counts), int(counts.max()), spread=0.8)
    bottleneck = np.concatenate([own[:n] for own, n in zip(vectors, counts.tolist(), strict=True)])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    slides = [f"slide_{i:04d}" for i in range(len(counts))]
    return CohortEmbeddings(bottleneck, bottleneck[:, :1], offsets, slides)


def run_stage(name: str, *words: object) -> None:
    """Run a stage in its own process."""
    subprocess.run([sys.executable, "-m", "slpd", name, *map(str, words)], check=True, stderr=subprocess.DEVNULL)


def measure(folder: Path) -> dict[str, float]:
    """Seconds of every part, once."""
    counts = np.full(SLIDES, REGIONS // SLIDES)
    counts[: REGIONS - int(counts.sum())] += 1
    manifest, content = write_cohort(folder, counts), embeddings(counts)
    encoder, training, objective = settings(512)
    precision = Precision(torch.device("cpu"), torch.float32)
    learner = Learner(encoder, training, objective, TOKEN_WIDTH, precision, 1)
    for parameter in learner.student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner.optimiser.step()  # so that there are moments to save
    resume = ResumeFile(folder / "state.pt", {}, 60)
    kept = TrainingFolder(folder / "training")
    renew = renewing(PROTOTYPES, SLIDE_GRAPH)
    write_embeddings(folder / "embeddings.h5", content)
    cluster = ("--embeddings", folder / "embeddings.h5", "--settings", PROTOTYPES.model_dump_json())
    link = ("--prototypes", folder / "prototypes.npz", "--settings", SLIDE_GRAPH.model_dump_json())

    def renew_and_keep() -> None:
        renewal = renew(content)
        kept.keep_targets(0, renewal.prototypes, renewal.graph)
        kept.show_targets(0, folder / "iterations")

    return {
        "start and import": seconds(
            lambda: subprocess.run([sys.executable, "-c", "import slpd.stages.distill_slpd"], check=True)
        ),
        "read tokens": seconds(lambda: read_tokens(manifest)),
        "write state": seconds(lambda: resume.save(learner, Progress(0), last=True)),
        "read state": seconds(lambda: (resume.find(), resume.load(learner))),
        "hash of the warm-up's checkpoint": seconds(lambda: sha256_of(folder / "state.pt")),
        "write embeddings": seconds(lambda: write_embeddings(folder / "last.h5", content)),
        "cluster_regions": seconds(lambda: run_stage("cluster_regions", *cluster, "--out", folder / "prototypes.npz")),
        "link_slides": seconds(lambda: run_stage("link_slides", *link, "--out", folder / "graph.npz")),
        "renew within a job": seconds(renew_and_keep),
    }


def schedule(once: dict[str, float], per_job: int, device: float, training: float) -> dict[str, float]:
    """Seconds outside training of a variant's iterations in blocks, part by part."""
    blocks = math.ceil(ITERATIONS / per_job)
    job = ("start and import", "read tokens", "hash of the warm-up's checkpoint", "read state")
    return {
        "jobs start": blocks * sum(once[part] for part in job),
        "CUDA and compiling": blocks * device,
        "state and embeddings": blocks * (once["write state"] + once["write embeddings"]),
        "checkpoints": training / CHECKPOINT_SECONDS * once["write state"],
        "cluster_regions and link_slides": (blocks + 1) * (once["cluster_regions"] + once["link_slides"]),
        "renewals within jobs": (ITERATIONS - blocks) * once["renew within a job"],
    }


def main() -> None:
    """Measure and add up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=10_000, help="regions per second of training")
    parser.add_argument("--device", type=float, default=0, help="seconds of a job until CUDA and compiled networks run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="schedule-") as folder:
        once = measure(Path(folder))
    training = ITERATIONS * REGIONS / args.speed
    whole = {per_job: schedule(once, per_job, args.device, training) for per_job in PER_JOB}
    encoder, recipe, _ = settings(512)
    view = operations_of_view(encoder, recipe.global_crop)
    figures = {
        "once": once,
        "whole": whole,
        "training_seconds": training,
        "share": {per_job: sum(parts.values()) / training for per_job, parts in whole.items()},
        "embedding_operations_share": view * (ITERATIONS + 1) / (operations_per_region(encoder, recipe) * EPOCHS),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

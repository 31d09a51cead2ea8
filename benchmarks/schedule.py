"""What the released schedule costs outside training at the size of TCGA-NSCLC, part by part, on this machine's CPU.

Two processes (`pretrain_dino`, one variant of `distill_slpd`) start, import and read 62,853 regions of tokens; 79 times
prototypes are made and slides linked; checkpoints are written every ten minutes. Training itself is not run: its time
follows from --speed. Embedding regions belongs to the GPU: its operations are given as a share of the training's. The
last line is JSON.
Usage: `python -m benchmarks.schedule [--speed 10000]`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.prototypes import PROTOTYPES, SLIDE_GRAPH, draw
from benchmarks.training import GRID, TOKEN_WIDTH, operations_of_view, operations_per_region, settings
from slpd.artifacts.checkpoint import read_checkpoint, write_checkpoint
from slpd.artifacts.cohort_tokens import open_cohort_tokens
from slpd.artifacts.embeddings import CohortEmbeddings
from slpd.artifacts.manifest import ManifestRow, write_manifest
from slpd.artifacts.slide_record import SlideRecord
from slpd.artifacts.tokens import TokenSource, write_tokens
from slpd.training.learner import Learner
from slpd.training.precision import Precision
from slpd.training.renewal import renewing

SLIDES, REGIONS = 1041, 62_853  # TCGA-NSCLC as SLPD's authors pretrained on it
ITERATIONS, EPOCHS = 79, 100
CHECKPOINT_SECONDS = 600


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes, the fastest of three times."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        work()
        times.append(time.monotonic() - started)
    return min(times)


def write_cohort(folder: Path, counts: np.ndarray) -> Path:
    """Token files of so many regions each, and their manifest."""
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


def measure(folder: Path) -> dict[str, float]:
    """Seconds of every part, once."""
    counts = np.full(SLIDES, REGIONS // SLIDES)
    counts[: REGIONS - int(counts.sum())] += 1
    manifest, content = write_cohort(folder, counts), embeddings(counts)
    encoder, training, objective = settings(512)
    learner = Learner(encoder, training, objective, TOKEN_WIDTH, Precision(torch.device("cpu"), torch.float32), 1)
    checkpoint = {"identity": {}, "learner": learner.state_dict()}
    start = [sys.executable, "-c", "import slpd.stages.distill_slpd"]
    renew = renewing(PROTOTYPES, SLIDE_GRAPH)
    return {
        "start and import": seconds(lambda: subprocess.run(start, check=True)),
        "read tokens": seconds(lambda: read_tokens(manifest)),
        "prototypes": seconds(lambda: renewing(PROTOTYPES, None)(content)),
        "prototypes and slide graph": seconds(lambda: renew(content)),
        "write checkpoint": seconds(lambda: write_checkpoint(folder / "checkpoint.pt", checkpoint)),
        "read checkpoint": seconds(lambda: read_checkpoint(folder / "checkpoint.pt", learner.device)),
    }


def main() -> None:
    """Measure and add up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=10_000, help="regions per second of training")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="schedule-") as folder:
        once = measure(Path(folder))
    training = EPOCHS * REGIONS / args.speed
    whole = {
        "start and import": 2 * once["start and import"],
        "read tokens": 2 * once["read tokens"],
        "prototypes and slide graphs": ITERATIONS * once["prototypes and slide graph"],
        "checkpoints": (2 + training / CHECKPOINT_SECONDS) * once["write checkpoint"] + once["read checkpoint"],
    }
    encoder, recipe, _ = settings(512)
    view = operations_of_view(encoder, recipe.global_crop)
    figures = {
        "once": once,
        "whole": whole,
        "training_seconds": training,
        "share": sum(whole.values()) / training,
        "embedding_operations_share": view * (ITERATIONS + 1) / (operations_per_region(encoder, recipe) * EPOCHS),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

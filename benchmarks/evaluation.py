"""Are heads trained fast? The ten folds of a task against a plain loop.

A cohort of 1,000 slides x 60 regions x 192 values, ten folds. The baseline, in the same run: a loop as one
writes it, fold after fold and bag after bag, of torch's own layers, with the same recipe and the same bags per step.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from benchmarks.plain_abmil import plain_loop, plain_of
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.cases import EvaluationData, evaluation_data
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.train_heads import predict_trained
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.heads import AbmilHead, HeadPreset
from slpd.settings.load import load_experiment

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
SLIDES, REGIONS, WIDTH, FOLDS = 1000, 60, 192, 10


def main() -> None:
    """Run what is asked, print it, and all of it as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=SLIDES, help="slides of the cohort whose folds are timed")
    arguments = parser.parse_args()
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    head = next(head for head in experiment.heads if isinstance(head, AbmilHead))
    print(json.dumps(speed(head, experiment.head_presets, arguments.slides)))


def speed(head: AbmilHead, presets: dict[str, HeadPreset], n_slides: int) -> dict[str, object]:
    """Seconds of ten folds, and the mean AUC that came out."""
    data = planted_cohort(n_slides)
    measured: dict[str, object] = {"slides": n_slides, "regions": REGIONS, "width": WIDTH, "folds": FOLDS}
    for name, preset in presets.items():
        loop = timed(f"{name}, plain loop", data, partial(plain_loop, partial(plain_of, head), preset, data))
        here = timed(f"{name}, evaluate", data, partial(predicted, head, preset, data))
        wall, cpu = (loop[what] / here[what] for what in ("seconds", "cpu_seconds"))
        measured[name] = {"plain loop": loop, "evaluate": here, "wall_ratio": wall, "cpu_ratio": cpu}
        print(f"{name}: the plain loop takes {wall:.2f} times the wall time, {cpu:.2f} times the processor time")
    return measured | {"torch": torch.__version__, "cores": os.cpu_count()}


def timed(name: str, data: EvaluationData, way: Callable[[], list[NDArray[np.float64]]]) -> dict[str, float]:
    """Wall and processor time of a way to train and test all folds, and the mean AUC."""
    start, cpu_start = time.perf_counter(), processor_seconds()
    outputs = way()
    seconds, cpu = time.perf_counter() - start, processor_seconds() - cpu_start
    tests = [fold.test.outcomes for fold in data.folds]
    auc = np.mean([point_metrics("subtyping", *fold)["auc"] for fold in zip(tests, outputs, strict=True)])
    print(f"{name:20} {seconds:7.1f} s, {cpu:7.1f} s of CPU   AUC {auc:.3f}", flush=True)
    return {"seconds": seconds, "cpu_seconds": cpu, "auc": float(auc)}


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def planted_cohort(n_slides: int) -> EvaluationData:
    """Bags of noise; in every other slide an eighth of the regions leans along one axis."""
    rng = np.random.default_rng(0)
    axis = rng.normal(size=WIDTH)
    axis *= 3 / np.linalg.norm(axis)
    slides = [LabelledSlide(f"s{i:04d}", f"p{i:04d}", "ab"[i % 2]) for i in range(n_slides)]
    bags = {}
    for slide in slides:
        bag = rng.normal(size=(REGIONS, WIDTH))
        bag[: REGIONS // 8] += axis * (slide.label == "b")
        bags[slide.slide] = bag.astype(np.float32)
    folds = GeneratedFolds(kind="generated", n_folds=FOLDS, validation_fraction=0.1, seed=0)
    task = ClassTask(name="planted", cohort="c", label="l", classes=["a", "b"], folds=folds)
    return evaluation_data(bags, generate_folds(task.classes, slides, folds), task)


def predicted(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """As `evaluate` does it."""
    return [fold.outputs for fold in predict_trained(head, preset, data)]


if __name__ == "__main__":
    main()

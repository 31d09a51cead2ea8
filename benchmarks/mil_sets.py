"""The classical multiple-instance sets: what every head reaches on them, and a textbook loop on the same folds.

A file `<set>.csv` has an instance per line: column 0 is its bag's label, 1 the bag's id, the rest its values. Folds are
ten, stratified, of which each keeps a share of the training bags for validation; a repetition has other folds and
another seed. A figure is the mean over folds and repetitions, with the standard deviation of the repetitions' means.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from benchmarks.plain_abmil import PlainAbmil, plain_loop, plain_of
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.errors import EvaluationError
from slpd.evaluation.cases import EvaluationData, evaluation_data
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.prediction import predict
from slpd.evaluation.train_heads import train_folds
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.experiment import Experiment
from slpd.settings.heads import AbmilHead, AnyHead, HeadPreset, MaxMilHead, SimlpHead, VitWsiHead
from slpd.settings.load import load_experiment

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
CLASSES = ["0", "1"]
FOLDS = 10

TEXTBOOK = HeadPreset(
    optimiser="adam",
    learning_rate=5e-4,
    weight_decay=5e-3,
    epochs=100,
    patience=10,
    batch_size=1,
    balanced=False,
    standardise=True,
    loss_divisor=1,
    seed=0,
)  # how ABMIL is usually trained on these sets: a bag per step, every bag once an epoch, the epoch of the lowest loss

# What says how a head is trained on a repetition's data, and what it then says of the test cases of every fold.
Way = Callable[[EvaluationData, int], list[NDArray[np.float64]]]


def main() -> None:
    """Every way on every set; prints a line for each, and all of it as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of <set>.csv")
    parser.add_argument("--repetitions", type=int, default=3, help="of the ten folds of a set")
    parser.add_argument("--validation", type=float, default=0.1, help="share of a fold's training bags; 0: none")
    arguments = parser.parse_args()
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    figures: dict[str, Any] = {}
    for path in sorted(arguments.folder.glob("*.csv")):
        for name, way in ways(experiment):
            try:
                figures[f"{path.stem}, {name}"] = of_set(path, way, arguments.repetitions, arguments.validation)
            except EvaluationError as error:  # a head that chooses by validation bags, of which there are none
                print(f"{path.stem:9} {name:32} {error}")
                continue
            print(
                f"{path.stem:9} {name:32}",
                "  ".join(f"{k} {v:.3f}" for k, v in figures[f"{path.stem}, {name}"].items()),
            )
    print(json.dumps({"repetitions": arguments.repetitions, "folds": FOLDS, "figures": figures}))


def of_set(path: Path, way: Way, repetitions: int, validation: float) -> dict[str, float]:
    """Mean accuracy and AUC of a way, their deviation over repetitions, and seconds of all of it."""
    start = time.perf_counter()
    means = []
    for number in range(repetitions):
        data = mil_set(path, FOLDS, validation, number)
        means.append([np.nanmean(values) for values in scores(data, way(data, number))])
    (accuracy, auc), deviations = np.mean(means, axis=0), np.std(means, axis=0, ddof=min(1, repetitions - 1))
    return {
        "accuracy": float(accuracy),
        "accuracy_std": float(deviations[0]),
        "auc": float(auc),
        "auc_std": float(deviations[1]),
        "seconds": time.perf_counter() - start,
    }


def ways(experiment: Experiment) -> Iterator[tuple[str, Way]]:
    """Every head of the config under every preset, and the loops."""
    presets = experiment.head_presets
    for head in heads(experiment):
        if not isinstance(head, AbmilHead | MaxMilHead | SimlpHead):
            yield head.name, partial(evaluated, head, None)
            continue
        for name, preset in presets.items():
            yield f"{head.name}, {name}", partial(evaluated, head, preset)
        if isinstance(head, AbmilHead):
            yield f"{head.name}, modern in a plain loop", partial(looped, partial(plain_of, head), presets["modern"])
            yield f"{head.name}, textbook loop", partial(looped, partial(textbook_network, head.gated), TEXTBOOK)


def heads(experiment: Experiment) -> Iterator[AnyHead]:
    """Those of the config, `abmil` with and without a gate; bags of these sets are too small for a transformer."""
    for head in experiment.heads:
        if isinstance(head, AbmilHead):
            for gated, name in ((False, "attention"), (True, "gated")):
                yield head.model_copy(update={"gated": gated, "name": f"abmil ({name})"})
        elif not isinstance(head, VitWsiHead):
            yield head


def textbook_network(gated: bool, width: int) -> PlainAbmil:
    """Three narrowing layers, as is usual on these sets."""
    return PlainAbmil(width, (256, 128, 64), attention=64, gated=gated, dropout=0.5)


def evaluated(head: AnyHead, preset: HeadPreset | None, data: EvaluationData, seed: int) -> list[NDArray[np.float64]]:
    """As `evaluate` does it, but that one process trains all folds."""
    if preset is None:
        return [fold.outputs for fold in predict(head, None, data)]
    torch.set_num_threads(1)
    folds = train_folds(head, preset.model_copy(update={"seed": seed}), data, range(len(data.folds)))  # type: ignore[arg-type]
    return [fold.output.outputs for fold in folds]


def looped(
    network: Callable[[int], PlainAbmil], preset: HeadPreset, data: EvaluationData, seed: int
) -> list[NDArray[np.float64]]:
    """As a plain loop does it."""
    return plain_loop(network, preset.model_copy(update={"seed": seed}), data)


def mil_set(path: Path, n_folds: int, validation_fraction: float, seed: int) -> EvaluationData:
    """The bags of a file, each a slide and a patient of its own, in stratified folds."""
    data = np.loadtxt(path, delimiter=",")
    numbers = data[:, 1].astype(int)
    bags: dict[str, NDArray[np.float32]] = {}
    slides = []
    for number in np.unique(numbers):
        rows = data[numbers == number]
        bags[f"bag{number}"] = rows[:, 2:].astype(np.float32)
        slides.append(LabelledSlide(f"bag{number}", f"bag{number}", str(int(rows[0, 0]))))
    folds = GeneratedFolds(kind="generated", n_folds=n_folds, validation_fraction=validation_fraction, seed=seed)
    task = ClassTask(name=path.stem, cohort="mil", label="label", classes=CLASSES, folds=folds)
    return evaluation_data(bags, generate_folds(CLASSES, slides, folds), task)


def scores(data: EvaluationData, outputs: list[NDArray[np.float64]]) -> tuple[list[float], list[float]]:
    """Accuracy and AUC of each fold."""
    folds = zip(data.folds, outputs, strict=True)
    metrics = [point_metrics("subtyping", fold.test.outcomes, of_fold) for fold, of_fold in folds]
    return [fold["accuracy"] for fold in metrics], [fold["auc"] for fold in metrics]


if __name__ == "__main__":
    main()

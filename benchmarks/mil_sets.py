"""The classical multiple-instance sets: column 0 is the bag's label, 1 its id, the rest is the instance."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.cases import EvaluationData, evaluation_data
from slpd.evaluation.generated_folds import generate_folds
from slpd.settings.evaluation import ClassTask, GeneratedFolds

CLASSES = ["0", "1"]


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


def accuracies(data: EvaluationData, outputs: list[NDArray[np.float64]]) -> list[float]:
    """The accuracy of each fold."""
    return [
        float((output.argmax(axis=1) == fold.test.outcomes.numbers).mean())
        for fold, output in zip(data.folds, outputs, strict=True)
    ]

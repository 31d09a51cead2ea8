"""Predictions (`predictions.csv`): one line per fold and test slide.

Columns: task, variant, head, fold, slide, patient, label, predicted (class names), then prob_<class>, the
probability of each class, in the order of the task's classes.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.folds import LabelledSlide


@dataclass(frozen=True)
class FoldPredictions:
    """What a head says of the test slides of one fold."""

    slides: list[LabelledSlide]
    probabilities: NDArray[np.float64]  # (n slides, n classes)


def write_predictions(
    path: Path, source: tuple[str, str, str], classes: Sequence[str], folds: Sequence[FoldPredictions]
) -> None:
    """Write the predictions of every fold.

    Args:
        path: The file to write.
        source: Names of the task, the variant and the head.
        classes: Class names, in the order of the columns of `probabilities`.
        folds: Fold 0 first.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = ("task", "variant", "head", "fold", "slide", "patient", "label", "predicted")
        writer.writerow([*names, *(f"prob_{name}" for name in classes)])
        for number, fold in enumerate(folds):
            for slide, row in zip(fold.slides, fold.probabilities, strict=True):
                predicted = classes[int(row.argmax())]
                writer.writerow(
                    [*source, number, slide.slide, slide.patient, slide.label, predicted, *(float(p) for p in row)]
                )

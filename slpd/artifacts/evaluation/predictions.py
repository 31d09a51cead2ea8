"""Predictions (`predictions.csv`): one line per fold and test case, a slide or a patient.

Columns: task, variant, head, fold, slide (of a patient all, separated by spaces), patient, label (class, time or
number), event (survival: 1 seen, 0 censored), predicted (class; survival: the risk, higher is earlier; number), group
(survival: low or high, of the risk), then what the head gives: prob_<class>, in the order of the task's classes,
hazard_<interval>, or value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.artifacts.rows import checked_rows, read_cells, write_table

COLUMNS = ("task", "variant", "head", "fold", "slide", "patient", "label", "event", "predicted", "group")


@dataclass(frozen=True)
class Prediction:
    """A line of the file: what a head says of a test case."""

    fold: int
    slides: tuple[str, ...]
    patient: str
    label: str
    event: str
    predicted: str
    group: str  # of risk, in survival tasks; else empty
    outputs: tuple[float, ...]  # in the order of the columns


@dataclass(frozen=True)
class FoldPredictions:
    """What a head says of the test cases of one fold."""

    cases: list[list[LabelledSlide]]  # the slides of each case
    predicted: list[str]  # of each case
    outputs: NDArray[np.float64]  # (n cases, n outputs)
    groups: list[str]  # of each case


def write_predictions(
    path: Path, source: tuple[str, str, str], outputs: Sequence[str], folds: Sequence[FoldPredictions]
) -> None:
    """Write the predictions of every fold.

    Args:
        path: The file to write.
        source: Names of the task, the variant and the head.
        outputs: Names of the columns of `FoldPredictions.outputs`.
        folds: Fold 0 first.
    """
    lines = []
    for number, fold in enumerate(folds):
        for case, predicted, group, row in zip(fold.cases, fold.predicted, fold.groups, fold.outputs, strict=True):
            slides = " ".join(slide.slide for slide in case)
            known = [case[0].patient, case[0].label, case[0].event]
            lines.append([*source, number, slides, *known, predicted, group, *map(float, row)])
    write_table(path, [*COLUMNS, *outputs], lines)


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of all folds, in the order of the file.

    Raises:
        UserError: a line is damaged.
    """
    return checked_rows(path, Prediction, [grouped(cells) for cells in read_cells(path)])


def grouped(cells: Mapping[str, str]) -> dict[str, Any]:
    """The cells of a line as the fields of a `Prediction`."""
    outputs = [cell for column, cell in cells.items() if column not in COLUMNS]
    return {**cells, "slides": cells.get("slide", "").split(" "), "outputs": outputs}

"""Slides without labels, and what the trained heads of all folds say of them together.

The mean of the folds' heads is the prediction (an ensemble). Their spread says how much it depends on which slides a
head was trained on, not how far a slide is from all that heads have seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.artifacts.learned.bags import Bag
from slpd.evaluation.cases import Cases, EvaluationData, Outcomes, grouped, split_cases
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.metrics import predicted_classes
from slpd.evaluation.stored_features import joined
from slpd.evaluation.survival import risk
from slpd.settings.evaluation import ClassTask, SurvivalTask, TaskSettings


@dataclass(frozen=True)
class Ensemble:
    """What F folds say of n cases."""

    names: list[str]  # of K figures: the probability of each class, the risk, or the value
    means: NDArray[np.float64]  # (n, K) over folds
    deviations: NDArray[np.float64]  # (n, K) ddof 1; NaN: one fold
    predicted: list[str]  # class, risk or value, by the means
    weights: list[NDArray[np.float64]]  # of each case (n regions,): mean over folds of the part of each region
    weight_deviations: list[NDArray[np.float64]]  # the same, ddof 1; NaN: one fold


def unlabelled_cases(
    bags: Mapping[str, Bag], patients: Mapping[str, str], task: TaskSettings
) -> tuple[EvaluationData, Cases]:
    """Slides as heads take them, without folds: their regions, and the cases that a task makes of them.

    Args:
        bags: Slide id -> (n, D) region vectors.
        patients: Slide id -> patient.
        task: Its outputs, and its level.
    """
    starts = np.cumsum([0, *map(len, bags.values())])
    rows = {slide: np.arange(*starts[i : i + 2]) for i, slide in enumerate(bags)}
    groups = grouped([LabelledSlide(slide, patients[slide], "") for slide in bags], task.level)
    unknown = Outcomes(np.zeros(len(groups), np.int64), np.zeros(len(groups), bool), np.full(len(groups), np.nan))
    return EvaluationData(joined(list(bags.values())), [], task), split_cases(groups, rows, unknown)


def ensemble_of(task: TaskSettings, folds: Sequence[HeadOutput]) -> Ensemble:
    """Mean and spread of what the folds' heads say.

    Of survival tasks that of the risk: the folds cut time at different places, so their hazards have no common mean.
    """
    outputs = np.stack([fold.outputs for fold in folds])  # (F, n, C)
    if isinstance(task, SurvivalTask):
        names, values = ["risk"], np.stack([risk(fold) for fold in outputs])[..., None]
    else:
        names, values = task.outputs, outputs
    if isinstance(task, ClassTask):
        predicted = [task.classes[number] for number in predicted_classes(outputs.mean(axis=0), task.kind)]
    else:
        predicted = [str(value) for value in values.mean(axis=0)[:, 0].tolist()]
    weights = [np.stack(of_case).astype(np.float64) for of_case in zip(*(fold.weights for fold in folds), strict=True)]
    return Ensemble(
        names,
        values.mean(axis=0),
        spread(values),
        predicted,
        [of_case.mean(axis=0) for of_case in weights],
        [spread(of_case) for of_case in weights],
    )


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation over folds (F, ...), ddof 1; NaN of one fold."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)

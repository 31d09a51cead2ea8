"""The loss of validation cases by what a head says of them, as trained heads count it, without torch."""

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Outcomes
from slpd.settings.evaluation import TaskKind


def validation_loss(outcomes: Outcomes, outputs: NDArray[np.float64], kind: TaskKind) -> float:
    """Mean negative log-likelihood, or squared error; over classes, the mean of the means of those that occur.

    Args:
        outcomes: The truth of n cases.
        outputs: (n, C) class probabilities; of survival tasks hazards; values (n, 1).
        kind: Of the task.
    """
    if kind == "regression":
        return float(np.mean((outputs[:, 0] - outcomes.values) ** 2))
    cases, certain = np.arange(len(outputs)), np.finfo(float).tiny  # the logarithm of 0 would hide all other cases
    if kind != "survival":
        losses = -np.log(outputs[cases, outcomes.numbers].clip(certain))
        return float(np.mean([losses[outcomes.numbers == number].mean() for number in np.unique(outcomes.numbers)]))
    interval = np.arange(outputs.shape[1])
    event = (interval == outcomes.numbers[:, None]) & outcomes.observed[:, None]
    outlived = (interval <= outcomes.numbers[:, None]) & ~event
    return float(-np.log(np.where(event, outputs, np.where(outlived, 1 - outputs, 1)).clip(certain)).sum(axis=1).mean())

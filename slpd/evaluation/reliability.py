"""Reliability: of the cases to which a class is given a probability of about p, which share belongs to it?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.metrics import CALIBRATION_BINS, calibration_bin


@dataclass(frozen=True)
class ReliabilityBin:
    """The cases whose probability of a class lies in [low, high)."""

    class_number: int
    low: float
    high: float
    n_cases: int
    mean_probability: float
    observed_share: float  # of them that belong to the class


def reliability(numbers: Sequence[NDArray[np.int64]], outputs: Sequence[NDArray[np.float64]]) -> list[ReliabilityBin]:
    """The bins of every class that hold cases, over the test cases of all folds.

    Args:
        numbers: (n,) true class numbers of each fold.
        outputs: (n, C) class probabilities of each fold.
    """
    truth, probabilities = np.concatenate(numbers), np.concatenate(outputs)
    return [
        ReliabilityBin(
            class_number=number,
            low=tenth / CALIBRATION_BINS,
            high=(tenth + 1) / CALIBRATION_BINS,
            n_cases=int(inside.sum()),
            mean_probability=float(probabilities[inside, number].mean()),
            observed_share=float((truth[inside] == number).mean()),
        )
        for number in range(probabilities.shape[1])
        for tenth in range(CALIBRATION_BINS)
        for inside in [calibration_bin(probabilities[:, number]) == tenth]
        if inside.any()
    ]

"""The mean region vector of a case, which heads without attention take: every region has an equal part in it."""

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Cases
from slpd.evaluation.stored_features import Features


def mean_vectors(features: Features, cases: Cases) -> NDArray[np.float64]:
    """The mean region vector of each case, (n cases, D)."""
    return np.stack([features[rows].mean(axis=0, dtype=np.float64) for rows in cases.rows])


def equal_weights(cases: Cases) -> list[NDArray[np.float32]]:
    """Of each case (n regions,): the part of each region in its mean."""
    return [np.full(len(rows), 1 / len(rows), np.float32) for rows in cases.rows]

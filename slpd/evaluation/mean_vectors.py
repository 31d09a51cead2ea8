"""The mean region vector of a case, which heads without attention take: every region has an equal part in it."""

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import Cases, FoldCases
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.stored_features import Features


def mean_vectors(features: Features, cases: Cases) -> NDArray[np.float64]:
    """The mean region vector of each case, (n cases, D)."""
    means = [features[rows].mean(axis=0, dtype=np.float64) for rows in cases.rows]
    return np.array(means, np.float64).reshape(len(cases), features.shape[1])


def asked_vectors(features: Features, fold: FoldCases) -> NDArray[np.float64]:
    """The mean region vectors of a fold's test cases, then of those by which a cut is chosen, (n + m, D)."""
    return np.concatenate([mean_vectors(features, fold.test), mean_vectors(features, fold.cut_by)])


def output_of(fold: FoldCases, outputs: NDArray[np.float64]) -> HeadOutput:
    """What a head says (n + m, C) of the `asked_vectors`."""
    n = len(fold.test)
    return HeadOutput(outputs[:n], equal_weights(fold.test), outputs[n:])


def equal_weights(cases: Cases) -> list[NDArray[np.float32]]:
    """Of each case (n regions,): the part of each region in its mean."""
    return [np.full(len(rows), 1 / len(rows), np.float32) for rows in cases.rows]

"""ROC curves over folds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

BESIDE = 1e-9  # left and right of a step, so that the mean keeps it


def mean_roc(numbers: Sequence[NDArray[np.int64]], outputs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over folds of the true positive rate at each false positive rate (vertical averaging, Fawcett 2006).

    Of two classes the curve of the second; of more the mean of one-vs-rest curves, as for the AUC. The area under it
    is the mean of the folds' AUC.

    Args:
        numbers: (n,) true class numbers of each fold.
        outputs: (n, C) class probabilities of each fold.

    Returns:
        (P, 2): false and true positive rate, from (0, 0) to (1, 1). Empty where no fold has cases of all classes.
    """
    n_classes = outputs[0].shape[1]
    classes = [1] if n_classes == 2 else list(range(n_classes))
    curves = [
        roc_curve(truth == number, scores[:, number])[:2]
        for truth, scores in zip(numbers, outputs, strict=True)
        if len(np.unique(truth)) == n_classes
        for number in classes
    ]
    if not curves:
        return np.empty((0, 2))
    steps = np.unique(np.concatenate([rates for rates, _ in curves]))
    places = np.sort(np.clip(np.concatenate([steps - BESIDE, steps + BESIDE]), 0, 1))
    rates = np.mean([np.interp(places, false, true) for false, true in curves], axis=0)
    inner = np.stack([places, rates], axis=1)
    return np.concatenate([[[0.0, 0.0]], inner[(places > 0) & (places < 1)], [[1.0, 1.0]]])

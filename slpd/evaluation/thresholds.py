"""The probability from which on a case is called positive, chosen on other cases than those that are tested."""

import numpy as np
from numpy.typing import NDArray


def youden_thresholds(numbers: NDArray[np.int64], outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The threshold of each class against the rest, (C,); NaN where no case, or every case, is of the class.

    Args:
        numbers: (n,) true class numbers.
        outputs: (n, C) class probabilities.
    """
    return np.array([youden_threshold(numbers == number, column) for number, column in enumerate(outputs.T)])


def youden_threshold(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The cut with the largest sensitivity + specificity - 1 (Youden, Cancer 3, 1950); of equal ones the lowest.

    Cuts lie half way between neighbouring scores, which is less biased than a cut at a score (Thiele & Hirschfeld,
    J. Stat. Softw. 98, 2021). NaN where one of both outcomes is missing.
    """
    n_positive = int(positive.sum())
    if not 0 < n_positive < len(positive):
        return float("nan")
    values = np.unique(scores)
    cuts = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
    reached = scores >= cuts[:, None]  # (cuts, n)
    gain = (reached & positive).sum(axis=1) * (len(positive) - n_positive) - (reached & ~positive).sum(
        axis=1
    ) * n_positive
    return float(cuts[gain.argmax()])

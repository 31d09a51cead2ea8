"""Heads: from the bags of every fold to the class probabilities of its test slides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.fold_bags import FoldBags
from slpd.settings.evaluation import AbmilHead, KnnHead


def predict(head: KnnHead | AbmilHead, folds: Sequence[FoldBags], n_classes: int) -> list[NDArray[np.float64]]:
    """Class probabilities (n test slides, n_classes) of every fold."""
    if isinstance(head, KnnHead):
        from slpd.evaluation.knn import predict_knn  # noqa: PLC0415

        return predict_knn(head, folds, n_classes)
    from slpd.evaluation.abmil import predict_abmil  # noqa: PLC0415  only this head is worth the wait for torch

    return predict_abmil(head, folds, n_classes)

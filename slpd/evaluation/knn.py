"""k nearest neighbours on the mean region vector of a slide, HIPT's test of frozen features.

Chen et al. 2022 (HIPT), section 4.3: Euclidean distance, uniform weights, no normalisation of the vectors.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from slpd.errors import UserError
from slpd.evaluation.fold_bags import FoldBags
from slpd.settings.evaluation import KnnHead


def predict_knn(head: KnnHead, folds: Sequence[FoldBags], n_classes: int) -> list[NDArray[np.float64]]:
    """Class probabilities of the test slides of every fold; the validation slides are not used.

    Returns:
        (n test slides, n_classes) for each fold: the share of each class among the k nearest training slides.

    Raises:
        UserError: a fold has fewer than k training slides.
    """
    return [predict_fold(head, number, fold, n_classes) for number, fold in enumerate(folds)]


def predict_fold(head: KnnHead, number: int, fold: FoldBags, n_classes: int) -> NDArray[np.float64]:
    """Class probabilities (n test slides, n_classes) of one fold."""
    n_train = len(fold.train.bags)
    if n_train < head.k:
        raise UserError(
            f"head {head.name}: k is {head.k}, but fold {number} has {n_train} training slides; lower k of the head"
        )
    classifier = KNeighborsClassifier(n_neighbors=head.k)
    classifier.fit(mean_vectors(fold.train.bags), fold.train.classes)
    probabilities = np.zeros((len(fold.test.bags), n_classes))
    probabilities[:, classifier.classes_] = classifier.predict_proba(mean_vectors(fold.test.bags))
    return probabilities  # a class without training slides keeps probability 0


def mean_vectors(bags: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The mean region vector of each bag, (n bags, D)."""
    return np.stack([bag.mean(axis=0, dtype=np.float64) for bag in bags])

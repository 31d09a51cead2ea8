"""k nearest neighbours on the mean region vector of a case, HIPT's test of frozen features.

Chen et al. 2022 (HIPT), section 4.3: k = 5, Euclidean distance, uniform weights, no normalisation of the vectors.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from slpd.evaluation.cases import Cases, EvaluationData, FoldCases
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.mean_vectors import asked_vectors, mean_vectors, output_of
from slpd.evaluation.training_classes import check_neighbours
from slpd.settings.heads import KnnHead


def predict_knn(head: KnnHead, data: EvaluationData) -> list[HeadOutput]:
    """What the k nearest training cases say of the test cases of every fold; the validation cases are not used.

    Classes: their shares among the neighbours. Survival: in each interval, the share with an event among the
    neighbours that came into it. Regression: the mean of their targets.

    Raises:
        EvaluationError: a fold has fewer than k training cases.
    """
    return [predict_fold(head, number, fold, data) for number, fold in enumerate(data.folds)]


def predict_fold(head: KnnHead, number: int, fold: FoldCases, data: EvaluationData) -> HeadOutput:
    """The same of one fold."""
    check_neighbours(head, number, len(fold.train), data.task.level)
    train, asked = mean_vectors(data.features, fold.train), asked_vectors(data.features, fold)
    predicted = {"survival": near_hazards, "regression": near_values}.get(data.task.kind, near_classes)
    return output_of(fold, predicted(head, fold, train, asked, data.n_outputs))


def near_classes(
    head: KnnHead, fold: FoldCases, train: NDArray[np.float64], asked: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Class probabilities (n, n_classes); a class without training cases keeps probability 0."""
    outputs = np.zeros((len(asked), n_classes))
    classifier = KNeighborsClassifier(n_neighbors=head.k, metric=head.metric, weights=head.weights)
    classifier.fit(train, fold.train.outcomes.numbers)
    outputs[:, classifier.classes_] = classifier.predict_proba(asked)
    return outputs


def near_values(
    head: KnnHead, fold: FoldCases, train: NDArray[np.float64], asked: NDArray[np.float64], _: int
) -> NDArray[np.float64]:
    """Mean target of the neighbours, by their weight, (n, 1)."""
    regressor = KNeighborsRegressor(n_neighbors=head.k, metric=head.metric, weights=head.weights)
    return np.asarray(regressor.fit(train, fold.train.outcomes.values).predict(asked))[:, None]


def near_hazards(
    head: KnnHead, fold: FoldCases, train: NDArray[np.float64], asked: NDArray[np.float64], n_bins: int
) -> NDArray[np.float64]:
    """Hazards (n, n_bins); the training cases among those asked are not their own neighbours."""
    nearest = NearestNeighbors(n_neighbors=head.k, metric=head.metric).fit(train)
    of_test = nearest.kneighbors(asked[: len(fold.test)])
    of_training = nearest.kneighbors(n_neighbors=min(head.k, len(train) - 1))
    return np.concatenate(
        [
            hazards(fold.train, places, neighbour_weights(head, distances), n_bins)
            for distances, places in (of_test, of_training)
        ]
    )


def neighbour_weights(head: KnnHead, distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of each neighbour, (n, k); at distance 0 only those count."""
    if head.weights == "uniform":
        return np.ones_like(distances)
    same = distances == 0
    with np.errstate(divide="ignore"):
        return np.where(same.any(axis=1, keepdims=True), same, 1 / distances)


def hazards(train: Cases, places: NDArray[np.int64], weights: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Hazards (n, n_bins) among neighbours (n, k); 0 where no neighbour came into an interval."""
    numbers, observed = train.outcomes.numbers[places][..., None], train.outcomes.observed[places][..., None]
    interval = np.arange(n_bins)
    events = (weights[..., None] * ((numbers == interval) & observed)).sum(axis=1)
    at_risk = (weights[..., None] * (numbers >= interval)).sum(axis=1)
    return np.asarray(np.divide(events, at_risk, out=np.zeros_like(events), where=at_risk > 0))

"""KNN: the share of each class among the nearest mean vectors, by Euclidean distance."""

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.errors import UserError
from slpd.evaluation.fold_bags import FoldBags, LabelledBags
from slpd.evaluation.knn import predict_knn
from slpd.settings.evaluation import KnnHead


def head(k: int) -> KnnHead:
    return KnnHead(kind="knn", name="knn", k=k)


def labelled(bags: list[NDArray[np.float32]], classes: list[int]) -> LabelledBags:
    return LabelledBags(bags, np.array(classes, dtype=np.int64))


NONE = labelled([], [])


def test_neighbours_are_counted_by_hand() -> None:
    train = labelled([np.full((1, 2), x, np.float32) for x in (0, 1, 2, 10, 11)], [0, 0, 2, 2, 2])
    bag = np.array([[-1, -1], [2, 2]], np.float32)  # mean 0.5: its neighbours are 0, 1 and 2
    test = labelled([bag, np.full((4, 2), 12, np.float32)], [0, 2])
    (probabilities,) = predict_knn(head(3), [FoldBags(train, NONE, test)], n_classes=4)
    assert probabilities == pytest.approx(np.array([[2 / 3, 0, 1 / 3, 0], [0, 0, 1, 0]]))


def test_probabilities_equal_a_slow_loop() -> None:
    rng = np.random.default_rng(0)

    def slides(n: int) -> LabelledBags:
        bags = [rng.normal(size=(rng.integers(1, 9), 6)).astype(np.float32) for _ in range(n)]
        return labelled(bags, [i % 3 for i in range(n)])

    fold = FoldBags(slides(30), slides(6), slides(12))
    (probabilities,) = predict_knn(head(5), [fold], n_classes=3)
    for bag, row in zip(fold.test.bags, probabilities, strict=True):
        distances = [np.linalg.norm(bag.mean(axis=0) - other.mean(axis=0)) for other in fold.train.bags]
        nearest = fold.train.classes[np.argsort(distances)[:5]]
        assert row == pytest.approx([(nearest == number).mean() for number in range(3)])


def test_more_neighbours_than_training_slides_are_refused() -> None:
    fold = FoldBags(labelled([np.zeros((1, 2), np.float32)] * 4, [0, 1, 0, 1]), NONE, NONE)
    with pytest.raises(UserError, match="head knn: k is 5, but fold 0 has 4 training slides"):
        predict_knn(head(5), [fold], n_classes=2)

"""KNN and logistic regression: on mean vectors, by the book."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from small_cases import class_task, data_of, survival_data, survival_task

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.errors import EvaluationError, UserError
from slpd.evaluation.cases import EvaluationData, Outcomes, evaluation_data
from slpd.evaluation.knn import predict_knn
from slpd.evaluation.logistic import predict_logistic
from slpd.evaluation.mean_vectors import mean_vectors
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.no_figures import no_figures_text
from slpd.evaluation.validation_loss import validation_loss
from slpd.settings.evaluation import Level
from slpd.settings.heads import KnnHead, LogisticHead


def head(k: int, **changes: str) -> KnnHead:
    return KnnHead.model_validate({"kind": "knn", "name": "knn", "k": k} | changes)


def logistic(balanced: bool = False, inverse_penalty: float | list[float] = 1.0) -> LogisticHead:
    return LogisticHead(kind="logistic", name="logistic", inverse_penalty=inverse_penalty, balanced=balanced)


def one_fold(
    train: list[tuple[NDArray[np.float32], str]], test: list[tuple[NDArray[np.float32], str]]
) -> EvaluationData:
    """A fold of bags and their classes, of four classes."""
    slides = [LabelledSlide(f"s{i}", f"p{i}", label) for i, (_, label) in enumerate(train + test)]
    bags = {slide.slide: bag for slide, (bag, _) in zip(slides, train + test, strict=True)}
    return evaluation_data(bags, [Fold(slides[: len(train)], [], slides[len(train) :])], class_task(4))


def test_neighbours_are_counted_by_hand() -> None:
    train = [(np.full((1, 2), x, np.float32), f"c{c}") for x, c in ((0, 0), (1, 0), (2, 2), (10, 2), (11, 2))]
    bag = np.array([[-1, -1], [2, 2]], np.float32)  # mean 0.5: its neighbours are 0, 1 and 2
    data = one_fold(train, [(bag, "c0"), (np.full((4, 2), 12, np.float32), "c2")])
    (found,) = predict_knn(head(3), data)
    assert found.outputs == pytest.approx(np.array([[2 / 3, 0, 1 / 3, 0], [0, 0, 1, 0]]))
    assert [weights.tolist() for weights in found.weights] == [[0.5, 0.5], [0.25] * 4]


def test_cosine_looks_at_directions_alone() -> None:
    train = [(np.array([[1, 0]], np.float32), "c0"), (np.array([[5, 5]], np.float32), "c1")]
    data = one_fold(train, [(np.array([[90, 1]], np.float32), "c0")])
    assert predict_knn(head(1, metric="euclidean"), data)[0].outputs.argmax() == 1
    assert predict_knn(head(1, metric="cosine"), data)[0].outputs.argmax() == 0


def test_near_neighbours_weigh_more_where_asked() -> None:
    train = [(np.full((1, 1), x, np.float32), c) for x, c in ((0, "c0"), (3, "c1"))]
    data = one_fold(train, [(np.full((1, 1), 1, np.float32), "c0")])
    assert predict_knn(head(2), data)[0].outputs[0, :2] == pytest.approx([1 / 2, 1 / 2])
    assert predict_knn(head(2, weights="distance"), data)[0].outputs[0, :2] == pytest.approx([2 / 3, 1 / 3])


def test_probabilities_equal_a_slow_loop() -> None:
    data = data_of([(30, 6, 12)], n_classes=3)
    (found,) = predict_knn(head(5), data)
    fold = data.folds[0]
    train = [data.features[rows].mean(axis=0) for rows in fold.train.rows]
    for rows, row in zip(fold.test.rows, found.outputs, strict=True):
        distances = [np.linalg.norm(data.features[rows].mean(axis=0) - other) for other in train]
        nearest = fold.train.outcomes.numbers[np.argsort(distances)[:5]]
        assert row == pytest.approx([(nearest == number).mean() for number in range(3)])


def test_hazards_are_counted_among_neighbours() -> None:
    """Five cases at one place; times cut at 2 and 4: intervals 0, 1, 1, 2, 2, the second and the last censored."""
    times = [("1", "1"), ("2.5", "0"), ("3", "1"), ("5", "1"), ("6", "0")]
    slides = [LabelledSlide(f"s{i}", f"p{i}", time, event) for i, (time, event) in enumerate([*times, ("1", "1")])]
    bags = {slide.slide: np.zeros((1, 2), np.float32) for slide in slides}
    data = evaluation_data(bags, [Fold(slides[:5], [], slides[5:])], survival_task(3))
    np.testing.assert_array_equal(data.folds[0].train.outcomes.numbers, [0, 1, 1, 2, 2])
    (found,) = predict_knn(head(5), data)
    assert found.outputs[0] == pytest.approx([1 / 5, 1 / 4, 1 / 2])


def test_a_training_case_is_not_its_own_neighbour() -> None:
    """Where risks are cut it is predicted as if it were not there."""
    data = survival_data(n=40)
    (fold,) = data.folds
    (found,) = predict_knn(head(5, weights="distance"), data)
    for place in (0, 7, 39):
        others = [case for i, case in enumerate(fold.train.slides) if i != place]
        bags = {
            case[0].slide: data.features[rows]
            for split in (fold.train, fold.test)
            for case, rows in zip(split.slides, split.rows, strict=True)
        }
        alone = Fold([case[0] for case in others], [], fold.train.slides[place])
        without = evaluation_data(bags, [alone], survival_task())
        numbers = fold.train.outcomes.numbers
        kept = [i for i in range(40) if i != place]
        same_bins = replace(  # the intervals are those of all training cases
            without.folds[0].train, outcomes=replace(without.folds[0].train.outcomes, numbers=numbers[kept])
        )
        (expected,) = predict_knn(
            head(5, weights="distance"), replace(without, folds=[replace(without.folds[0], train=same_bins)])
        )
        np.testing.assert_allclose(found.cut_outputs[place], expected.outputs[0])


def test_a_neighbour_at_the_same_place_speaks_alone() -> None:
    """Its weight, one over the distance, has no bound; cases at 0, 0, 1 and 2, of which the test case is at 0."""
    times = [("1", "1"), ("6", "0"), ("3", "1"), ("5", "1"), ("1", "1")]
    slides = [LabelledSlide(f"s{i}", f"p{i}", time, event) for i, (time, event) in enumerate(times)]
    bags = {f"s{i}": np.full((1, 2), x, np.float32) for i, x in enumerate((0, 0, 1, 2, 0))}
    data = evaluation_data(bags, [Fold(slides[:4], [], slides[4:])], survival_task(3))
    (found,) = predict_knn(head(4, weights="distance"), data)
    assert found.outputs[0] == pytest.approx([1 / 2, 0, 0])


def test_near_neighbours_weigh_more_for_hazards_too() -> None:
    """Cases at 0 and 3, an event in the first interval and none; the test case is at 1: weights 1 and 1/2."""
    slides = [LabelledSlide(f"s{i}", f"p{i}", time, event) for i, (time, event) in enumerate([("1", "1"), ("9", "1")])]
    slides.append(LabelledSlide("s2", "p2", "1", "1"))
    bags = {f"s{i}": np.full((1, 1), x, np.float32) for i, x in enumerate((0, 3, 1))}
    data = evaluation_data(bags, [Fold(slides[:2], [], slides[2:])], survival_task(2))
    (found,) = predict_knn(head(2, weights="distance"), data)
    assert found.outputs[0, 0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("level", ["slide", "patient"])
def test_more_neighbours_than_training_cases_are_refused(level: Level) -> None:
    slides = [LabelledSlide(f"s{i}", f"p{i}", f"c{i % 2}") for i in range(6)]
    bags = {slide.slide: np.zeros((1, 2), np.float32) for slide in slides}
    data = evaluation_data(bags, [Fold(slides[:4], [], slides[4:])], class_task(level=level))
    with pytest.raises(UserError, match=f"head knn: k is 5, but fold 0 has 4 training {level}s; lower k of the head"):
        predict_knn(head(5), data)


@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_regression_is_scikit_learns_on_standardised_means(balanced: bool) -> None:
    data = data_of([(31, 6, 12)], n_classes=3)
    fold = data.folds[0]
    (found,) = predict_logistic(logistic(balanced), data)
    scaler = StandardScaler().fit(mean_vectors(data.features, fold.train))
    model = LogisticRegression(class_weight="balanced" if balanced else None, max_iter=500)
    model.fit(scaler.transform(mean_vectors(data.features, fold.train)), fold.train.outcomes.numbers)
    expected = model.predict_proba(scaler.transform(mean_vectors(data.features, fold.test)))
    np.testing.assert_allclose(found.outputs, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("balanced", [False, True])
def test_of_several_penalties_each_fold_takes_the_best_on_its_validation_cases(seed: int, balanced: bool) -> None:
    data, grid = data_of([(31, 13, 12), (30, 14, 9)], n_classes=3, seed=seed, shift=2), [10.0, 0.001, 0.1]
    single = {penalty: predict_logistic(logistic(balanced, penalty), data) for penalty in grid}
    for number, found in enumerate(predict_logistic(logistic(balanced, grid), data)):
        fold = data.folds[number]
        scaler = StandardScaler().fit(mean_vectors(data.features, fold.train))
        losses = {}
        for penalty in grid:
            model = LogisticRegression(C=penalty, class_weight="balanced" if balanced else None, max_iter=500)
            model.fit(scaler.transform(mean_vectors(data.features, fold.train)), fold.train.outcomes.numbers)
            said, truth = (
                model.predict_proba(scaler.transform(mean_vectors(data.features, fold.val))),
                fold.val.outcomes,
            )
            weights = compute_sample_weight("balanced", truth.numbers)  # every class weighs the same
            losses[penalty] = log_loss(truth.numbers, said, sample_weight=weights, labels=[0, 1, 2])
        best = min(losses, key=losses.__getitem__)
        assert (found.outputs == single[best][number].outputs).all()
        assert any((found.outputs != outputs[number].outputs).any() for outputs in single.values())


def test_of_penalties_that_are_equally_good_the_strongest_is_taken() -> None:
    """Vectors that are all the same tell nothing of the class."""
    data, penalties = data_of([(12, 4, 3)]), [10.0, 0.1]
    data.features[:] = 1
    (found,) = predict_logistic(logistic(inverse_penalty=penalties), data)
    (strongest,) = predict_logistic(logistic(inverse_penalty=0.1), data)
    assert (found.outputs == strongest.outputs).all()


def test_a_choice_without_validation_cases_is_refused() -> None:
    with pytest.raises(
        EvaluationError, match="would choose its inverse_penalty on validation cases, but fold 1 has none"
    ):
        predict_logistic(logistic(inverse_penalty=[1, 2]), data_of([(12, 3, 3), (12, 0, 3)]))


def test_that_a_fold_has_none_is_known_before_anything_is_encoded() -> None:
    slides = [LabelledSlide(f"s{i}", f"p{i}", f"c{i % 2}") for i in range(6)]
    folds = [Fold(slides[:2], slides[2:4], slides[4:]), Fold(slides[:4], [], slides[4:])]
    (line,) = no_figures_text(class_task(), folds, [logistic(inverse_penalty=[1, 2]), logistic()])
    assert line.startswith("task grade, head logistic: its cells will have no figures: head logistic: it would choose")


def test_validation_loss_of_hazards_is_the_likelihood() -> None:
    """By the rules of probability: event in interval 1; came through 0 to 2; came through 0 and has no event in 0."""
    hazards = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    outcomes = Outcomes(np.array([1, 2, 0]), np.array([True, False, False]), np.zeros(3))
    expected = np.mean([-np.log(0.9 * 0.2), -np.log(0.6 * 0.5 * 0.4), -np.log(0.3)])
    assert validation_loss(outcomes, hazards, "survival") == pytest.approx(expected)
    impossible = np.array([[1.0, 0.0], [0.5, 0.5]])
    truth = Outcomes(np.array([1, 0]), np.ones(2, bool), np.zeros(2))
    assert np.isfinite(validation_loss(truth, impossible, "subtyping"))


def test_survival_chooses_a_penalty_too() -> None:
    """A weak effect of one of five values: shrinking all but nothing is worse than shrinking."""
    data, grid = survival_data(n=40, effect=0.3), [1e-4, 1e-2, 1e4]
    singles = [predict_logistic(logistic(inverse_penalty=penalty), data)[0].outputs for penalty in grid]
    (chosen,) = predict_logistic(logistic(inverse_penalty=grid), data)
    assert any((chosen.outputs == outputs).all() for outputs in singles)


@pytest.mark.parametrize("balanced", [False, True])
def test_hazards_are_probabilities_whether_classes_are_balanced_or_not(balanced: bool) -> None:
    """On average as many events come as there were: weighed up, they would come more often."""
    data = survival_data(effect=0.5)
    train = data.folds[0].train
    (found,) = predict_logistic(logistic(balanced), data)
    share = float(((train.outcomes.numbers == 0) & train.outcomes.observed).mean())
    assert share < 0.3  # far from the half that balanced weights would make of it
    assert found.outputs[:, 0].mean() == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    "predict", [lambda data: predict_logistic(logistic(), data), lambda data: predict_knn(head(15), data)]
)
def test_heads_on_mean_vectors_learn_who_dies_first(predict: object) -> None:
    data = survival_data()
    (found,) = predict(data)  # type: ignore[operator]
    assert ((found.outputs >= 0) & (found.outputs <= 1)).all()
    assert point_metrics("survival", data.folds[0].test.outcomes, found.outputs)["c_index"] > 0.75

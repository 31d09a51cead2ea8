"""Logistic regression on the mean region vector of a case: the linear probe of the slide's vector.

Of several penalties, each fold takes the one with the lowest loss of its validation cases, the strongest of equal ones.
Vectors are standardised with the training cases' mean and deviation. Survival tasks fit one regression to all pairs of
a case and an interval that it came into, with an intercept per interval (Singer & Willett, J. Educ. Stat. 1993).
Regression tasks fit a ridge regression (Hoerl & Kennard, Technometrics 1970).
"""

import logging
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from slpd.errors import EvaluationError
from slpd.evaluation.cases import EvaluationData, FoldCases, Outcomes
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.mean_vectors import asked_vectors, mean_vectors, output_of
from slpd.evaluation.training_classes import check_validation
from slpd.evaluation.validation_loss import validation_loss
from slpd.settings.heads import LogisticHead

log = logging.getLogger(__name__)

MOST_STEPS = 2000  # of L-BFGS, which needs some hundred on vectors of a few hundred values


def predict_logistic(head: LogisticHead, data: EvaluationData) -> list[HeadOutput]:
    """What the regression says of the test cases of every fold.

    Raises:
        EvaluationError: the regression of a fold does not converge, or it has no validation cases to choose by.
    """
    return [predict_fold(head, number, fold, data) for number, fold in enumerate(data.folds)]


def predict_fold(head: LogisticHead, number: int, fold: FoldCases, data: EvaluationData) -> HeadOutput:
    """The same of one fold."""
    check_validation(head, number, len(fold.val))
    scaler = StandardScaler()
    train = scaler.fit_transform(mean_vectors(data.features, fold.train))
    fit = {"survival": hazards, "regression": values}.get(data.task.kind, probabilities)

    def outputs(penalty: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            return fit(head, penalty, train, fold.train.outcomes, x, data.n_outputs)
        except ConvergenceWarning as warning:
            raise EvaluationError(
                f"head {head.name}, fold {number}: the regression has not converged within {MOST_STEPS} steps; lower"
                f" inverse_penalty of the head (it is {penalty:g})"
            ) from warning

    penalty = head.grid[0]
    if len(head.grid) > 1:
        val = scaler.transform(mean_vectors(data.features, fold.val))
        losses = [validation_loss(fold.val.outcomes, outputs(value, val), data.task.kind) for value in head.grid]
        penalty = head.grid[int(np.argmin(losses))]
        log.info("head %s, fold %d: inverse_penalty %g", head.name, number, penalty)
    return output_of(fold, outputs(penalty, scaler.transform(asked_vectors(data.features, fold))))


def probabilities(
    head: LogisticHead,
    penalty: float,
    train: NDArray[np.float64],
    outcomes: Outcomes,
    test: NDArray[np.float64],
    n_classes: int,
) -> NDArray[np.float64]:
    """Class probabilities of test cases (n, n_classes); a class without training cases keeps probability 0."""
    model = regression(penalty, train, outcomes.numbers, "balanced" if head.balanced else None)
    shares = np.zeros((len(test), n_classes))
    shares[:, model.classes_] = model.predict_proba(test)
    return shares


def hazards(
    head: LogisticHead,
    penalty: float,
    train: NDArray[np.float64],
    outcomes: Outcomes,
    test: NDArray[np.float64],
    n_bins: int,
) -> NDArray[np.float64]:
    """Hazards of test cases (n, n_bins).

    Never balanced: if pairs with an event weighed as much as those without, what comes out would be no hazards.
    """
    case, interval = np.nonzero(np.arange(n_bins) <= outcomes.numbers[:, None])  # the pairs of a case and an interval
    event = (interval == outcomes.numbers[case]) & outcomes.observed[case]
    starts = np.eye(n_bins)
    model = regression(penalty, np.hstack([train[case], starts[interval]]), event, None)
    pairs = [np.hstack([test, np.broadcast_to(row, (len(test), n_bins))]) for row in starts]
    return np.stack([model.predict_proba(x)[:, 1] for x in pairs], axis=1)


def values(
    _head: LogisticHead,
    penalty: float,
    train: NDArray[np.float64],
    outcomes: Outcomes,
    test: NDArray[np.float64],
    _n_outputs: int,
) -> NDArray[np.float64]:
    """Predicted targets of test cases (n, 1), by ridge regression: the same penalty on a squared error."""
    model = Ridge(alpha=1 / penalty).fit(train, outcomes.values)
    return np.asarray(model.predict(test))[:, None]


def regression(
    penalty: float, x: NDArray[np.float64], y: NDArray[np.generic], weights: Literal["balanced"] | None
) -> LogisticRegression:
    """The fitted model; one that has not converged is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return LogisticRegression(C=penalty, class_weight=weights, max_iter=MOST_STEPS).fit(x, y)

"""Logistic regression on the mean region vector of a case: the linear probe of the slide's vector.

Vectors are standardised with the training cases' mean and deviation. Survival tasks fit one regression to all pairs of
a case and an interval that it came into, with an intercept per interval (Singer & Willett, J. Educ. Stat. 1993).
Regression tasks fit a ridge regression (Hoerl & Kennard, Technometrics 1970).
"""

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
from slpd.settings.heads import LogisticHead

MOST_STEPS = 2000  # of L-BFGS, which needs some hundred on vectors of a few hundred values


def predict_logistic(head: LogisticHead, data: EvaluationData) -> list[HeadOutput]:
    """What the regression says of the test cases of every fold; the validation cases are not used.

    Raises:
        EvaluationError: the regression of a fold does not converge.
    """
    return [predict_fold(head, number, fold, data) for number, fold in enumerate(data.folds)]


def predict_fold(head: LogisticHead, number: int, fold: FoldCases, data: EvaluationData) -> HeadOutput:
    """The same of one fold."""
    scaler = StandardScaler()
    train = scaler.fit_transform(mean_vectors(data.features, fold.train))
    asked = scaler.transform(asked_vectors(data.features, fold))
    fit = {"survival": hazards, "regression": values}.get(data.task.kind, probabilities)
    try:
        outputs = fit(head, train, fold.train.outcomes, asked, data.n_outputs)
    except ConvergenceWarning as warning:
        raise EvaluationError(
            f"head {head.name}, fold {number}: the regression has not converged within {MOST_STEPS} steps; lower"
            f" inverse_penalty of the head (it is {head.inverse_penalty:g})"
        ) from warning
    return output_of(fold, outputs)


def probabilities(
    head: LogisticHead, train: NDArray[np.float64], outcomes: Outcomes, test: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Class probabilities of test cases (n, n_classes); a class without training cases keeps probability 0."""
    model = regression(head, train, outcomes.numbers, "balanced" if head.balanced else None)
    shares = np.zeros((len(test), n_classes))
    shares[:, model.classes_] = model.predict_proba(test)
    return shares


def hazards(
    head: LogisticHead, train: NDArray[np.float64], outcomes: Outcomes, test: NDArray[np.float64], n_bins: int
) -> NDArray[np.float64]:
    """Hazards of test cases (n, n_bins).

    Never balanced: if pairs with an event weighed as much as those without, what comes out would be no hazards.
    """
    case, interval = np.nonzero(np.arange(n_bins) <= outcomes.numbers[:, None])  # the pairs of a case and an interval
    event = (interval == outcomes.numbers[case]) & outcomes.observed[case]
    starts = np.eye(n_bins)
    model = regression(head, np.hstack([train[case], starts[interval]]), event, None)
    pairs = [np.hstack([test, np.broadcast_to(row, (len(test), n_bins))]) for row in starts]
    return np.stack([model.predict_proba(x)[:, 1] for x in pairs], axis=1)


def values(
    head: LogisticHead, train: NDArray[np.float64], outcomes: Outcomes, test: NDArray[np.float64], _: int
) -> NDArray[np.float64]:
    """Predicted targets of test cases (n, 1), by ridge regression: the same penalty on a squared error."""
    model = Ridge(alpha=1 / head.inverse_penalty).fit(train, outcomes.values)
    return np.asarray(model.predict(test))[:, None]


def regression(
    head: LogisticHead, x: NDArray[np.float64], y: NDArray[np.generic], weights: Literal["balanced"] | None
) -> LogisticRegression:
    """The fitted model; one that has not converged is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return LogisticRegression(C=head.inverse_penalty, class_weight=weights, max_iter=MOST_STEPS).fit(x, y)

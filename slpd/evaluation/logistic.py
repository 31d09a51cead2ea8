"""Logistic regression on the mean region vector of a case: the linear probe of the slide's vector.

Of several penalties, each fold takes the one with the lowest loss of its validation cases, the strongest of equal ones.
Vectors are standardised with the training cases' mean and deviation. Survival tasks fit one regression to all pairs of
a case and an interval that it came into, with an intercept per interval (Singer & Willett, J. Educ. Stat. 1993).
Regression tasks fit a ridge regression (Hoerl & Kennard, Technometrics 1970).
"""

import logging
import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from slpd.errors import EvaluationError
from slpd.evaluation.cases import Cases, EvaluationData, FoldCases, Outcomes
from slpd.evaluation.head_output import HeadOutput, Parameters
from slpd.evaluation.mean_vectors import equal_weights, mean_vectors
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
    check_validation(head, data.task, number, [slide for case in fold.val.slides for slide in case])
    scaler = StandardScaler()
    train = scaler.fit_transform(mean_vectors(data.features, fold.train))
    fit = {"survival": fit_hazards, "regression": fit_values}.get(data.task.kind, fit_classes)

    def parameters(penalty: float) -> Parameters:
        try:
            model = fit(head, penalty, train, fold.train.outcomes, data.n_outputs)
        except ConvergenceWarning as warning:
            raise EvaluationError(
                f"head {head.name}, fold {number}: the regression has not converged within {MOST_STEPS} steps; lower"
                f" inverse_penalty of the head (it is {penalty:g})"
            ) from warning
        return {
            "mean": scaler.mean_,
            "deviation": scaler.scale_,
            "coefficients": np.atleast_2d(model.coef_),
            "intercepts": np.atleast_1d(model.intercept_),
            "classes": getattr(model, "classes_", np.empty(0)).astype(np.int64),  # of a ridge regression none
        }

    fitted = [parameters(penalty) for penalty in head.grid]
    best = 0
    if len(head.grid) > 1:
        val = mean_vectors(data.features, fold.val)
        losses = [validation_loss(fold.val.outcomes, outputs_of(some, val, data), data.task.kind) for some in fitted]
        best = int(np.argmin(losses))
        log.info("head %s, fold %d: inverse_penalty %g", head.name, number, head.grid[best])
    cut = outputs_of(fitted[best], mean_vectors(data.features, fold.cut_by), data)
    return replace(apply_logistic(fitted[best], fold.test, data), cut_outputs=cut)


def apply_logistic(parameters: Parameters, cases: Cases, data: EvaluationData) -> HeadOutput:
    """What a regression with these parameters says of cases; of none to cut by."""
    outputs = outputs_of(parameters, mean_vectors(data.features, cases), data)
    return HeadOutput(outputs, equal_weights(cases), outputs[:0], parameters)


def outputs_of(parameters: Parameters, vectors: NDArray[np.float64], data: EvaluationData) -> NDArray[np.float64]:
    """Class probabilities, hazards or values (n, C) of mean vectors (n, D); there may be none."""
    standardised = (vectors - parameters["mean"]) / parameters["deviation"]
    if data.task.kind == "regression":
        return np.asarray(standardised @ parameters["coefficients"].T + parameters["intercepts"])
    if not len(vectors):
        return np.empty((0, data.n_outputs))
    model = LogisticRegression()
    model.coef_, model.intercept_ = parameters["coefficients"], parameters["intercepts"]
    model.classes_ = parameters["classes"]
    return (hazards if data.survival else probabilities)(model, standardised, data.n_outputs)


def fit_classes(
    head: LogisticHead, penalty: float, train: NDArray[np.float64], outcomes: Outcomes, _: int
) -> LogisticRegression:
    """The regression of classes."""
    return regression(penalty, train, outcomes.numbers, "balanced" if head.balanced else None)


def probabilities(model: LogisticRegression, vectors: NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    """Class probabilities (n, n_classes); a class without training cases keeps probability 0."""
    shares = np.zeros((len(vectors), n_classes))
    shares[:, model.classes_] = model.predict_proba(vectors)
    return shares


def fit_hazards(
    _: LogisticHead, penalty: float, train: NDArray[np.float64], outcomes: Outcomes, n_bins: int
) -> LogisticRegression:
    """The regression of events in intervals.

    Never balanced: if pairs with an event weighed as much as those without, what comes out would be no hazards.
    """
    case, interval = np.nonzero(np.arange(n_bins) <= outcomes.numbers[:, None])  # the pairs of a case and an interval
    event = (interval == outcomes.numbers[case]) & outcomes.observed[case]
    return regression(penalty, np.hstack([train[case], np.eye(n_bins)[interval]]), event, None)


def hazards(model: LogisticRegression, vectors: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Hazards (n, n_bins)."""
    pairs = [np.hstack([vectors, np.broadcast_to(row, (len(vectors), n_bins))]) for row in np.eye(n_bins)]
    return np.stack([model.predict_proba(x)[:, 1] for x in pairs], axis=1)


def fit_values(_head: LogisticHead, penalty: float, train: NDArray[np.float64], outcomes: Outcomes, _: int) -> Ridge:
    """Ridge regression of targets: the same penalty on a squared error."""
    return Ridge(alpha=1 / penalty).fit(train, outcomes.values)


def regression(
    penalty: float, x: NDArray[np.float64], y: NDArray[np.generic], weights: Literal["balanced"] | None
) -> LogisticRegression:
    """The fitted model; one that has not converged is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return LogisticRegression(C=penalty, class_weight=weights, max_iter=MOST_STEPS).fit(x, y)

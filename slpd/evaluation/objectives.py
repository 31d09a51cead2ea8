"""What a network is trained for: its loss on some cases, and what its logits say of a case."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slpd.evaluation.baseline_hazard import breslow_hazards
from slpd.evaluation.cases import FoldCases, Outcomes
from slpd.evaluation.outcome_loss import class_loss, cox_loss, survival_loss
from slpd.settings.evaluation import ClassTask, RegressionTask, TaskSettings


@dataclass(frozen=True)
class Truth:
    """The outcomes of n cases, as those of `Outcomes`."""

    numbers: Tensor
    observed: Tensor
    values: Tensor

    def of(self, places: Tensor) -> "Truth":
        """Those of some cases."""
        return Truth(self.numbers[places], self.observed[places], self.values[places])


class Objective:
    """Of discrete time, and what most others share."""

    draws_classes = False  # whether bags are drawn by class, and validation cases weighed by it
    joint = False  # whether the loss of a case depends on the others of its step

    def losses(self, logits: Tensor, truth: Truth) -> Tensor:
        """Of each case with these logits (B, L), (B,)."""
        return survival_loss(logits, truth.numbers, truth.observed)

    def can_judge(self, truth: Truth) -> bool:
        """Whether a loss over these cases says how good a network is: without an event, the best would foresee none."""
        return bool(truth.observed.any())

    def settle(self, cut_logits: Tensor) -> None:
        """Take what `outputs` needs from the trained network's logits of `FoldCases.cut_by`."""

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What `outputs` needs besides the logits, to be kept with the network."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` gave, in place of what the fold has."""

    def outputs(self, logits: Tensor) -> NDArray[np.float64]:
        """Logits (n, L) -> what a head says of each case: here hazards (n, bins)."""
        return np.asarray(logits.double().sigmoid())


class ClassObjective(Objective):
    """Cross-entropy; a logit, and a probability, per class."""

    draws_classes = True

    def losses(self, logits: Tensor, truth: Truth) -> Tensor:
        """Of each case with these logits (B, C), (B,)."""
        return class_loss(logits, truth.numbers)

    def can_judge(self, truth: Truth) -> bool:
        """Whether there are several classes; of one alone, the best network would always say this one."""
        return len(set(truth.numbers.tolist())) > 1

    def outputs(self, logits: Tensor) -> NDArray[np.float64]:
        """Class probabilities (n, C)."""
        return np.asarray(logits.double().softmax(dim=1))


class CoxObjective(Objective):
    """Cox's partial likelihood; one logit, the log of the relative hazard.

    What it leaves open, the baseline hazard, is Breslow's of the training cases.
    """

    joint = True

    def __init__(self, fold: FoldCases | None) -> None:
        """`fold` is None where `restore` follows."""
        if fold:
            self.train, self.starts = fold.train.outcomes, fold.starts
            self.train_logits = np.zeros(len(fold.train))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """The training cases' outcomes and logits."""
        return {**vars(self.train), "starts": self.starts, "logits": self.train_logits}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The same."""
        self.train = Outcomes(*(state[column.name] for column in fields(Outcomes)))
        self.starts, self.train_logits = state["starts"], state["logits"]

    def losses(self, logits: Tensor, truth: Truth) -> Tensor:
        """Of each case of a step with these logits (B, 1), (B,)."""
        return cox_loss(logits[:, 0], truth.values, truth.observed)

    def can_judge(self, truth: Truth) -> bool:
        """Whether some case is at risk beside one that has its event."""
        at_risk = truth.values >= truth.values[:, None]  # (n, n)
        return bool((at_risk.sum(dim=1)[truth.observed] > 1).any())

    def settle(self, cut_logits: Tensor) -> None:
        """Keep the training cases' logits (m, 1)."""
        self.train_logits = cut_logits[:, 0].double().numpy()

    def outputs(self, logits: Tensor) -> NDArray[np.float64]:
        """Hazards (n, bins)."""
        return breslow_hazards(logits[:, 0].double().numpy(), self.train_logits, self.train, self.starts)


class RegressionObjective(Objective):
    """Squared error of the target less the training cases' mean, by their deviation; one logit."""

    def __init__(self, fold: FoldCases | None) -> None:
        """`fold` is None where `restore` follows."""
        if fold:
            values = fold.train.outcomes.values
            self.mean, self.deviation = float(values.mean()), float(values.std()) or 1.0

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Mean and deviation of the training cases' targets, (2,)."""
        return {"moments": np.array([self.mean, self.deviation])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The same."""
        self.mean, self.deviation = state["moments"].tolist()

    def losses(self, logits: Tensor, truth: Truth) -> Tensor:
        """Of each case with these logits (B, 1), (B,)."""
        target = (truth.values - self.mean) / self.deviation
        return (logits[:, 0] - target.to(logits.dtype)) ** 2

    def outputs(self, logits: Tensor) -> NDArray[np.float64]:
        """Predicted values (n, 1)."""
        return np.asarray(logits.double() * self.deviation + self.mean)


def objective_of(task: TaskSettings, fold: FoldCases | None) -> Objective:
    """What networks are trained for on a fold of a task; without one, `restore` must follow."""
    if isinstance(task, ClassTask):
        return ClassObjective()
    if isinstance(task, RegressionTask):
        return RegressionObjective(fold)
    return CoxObjective(fold) if task.loss == "cox" else Objective()

"""Learning rate, weight decay and teacher momentum of every step of all epochs (DINO, Caron et al. 2021)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slpd.settings.training import Training

REFERENCE_BATCH = 256  # the batch that Training.learning_rate is stated for (linear scaling rule)


class StepRates(NamedTuple):
    """The values for one step."""

    learning_rate: float
    weight_decay: float
    teacher_momentum: float


class Schedules(NamedTuple):
    """One value per step, over all epochs."""

    learning_rate: NDArray[np.float64]
    weight_decay: NDArray[np.float64]
    teacher_momentum: NDArray[np.float64]

    def at(self, step: int) -> StepRates:
        """The values of step `step`, counted from the first step of the first epoch."""
        return StepRates(*(float(schedule[step]) for schedule in self))


def make_schedules(training: Training, steps_per_epoch: int) -> Schedules:
    """The schedules of a recipe: linear warm-up, then cosine, of the learning rate; cosines of the others."""
    steps = training.epochs * steps_per_epoch
    warmup_steps = training.learning_rate_warmup_epochs * steps_per_epoch
    peak = training.learning_rate * training.batch_size / REFERENCE_BATCH
    warmup = np.linspace(0, peak, warmup_steps)
    return Schedules(
        np.concatenate([warmup, cosine(peak, training.final_learning_rate, steps - warmup_steps)]),
        cosine(training.weight_decay, training.final_weight_decay, steps),
        cosine(training.teacher_momentum, 1, steps),
    )


def cosine(start: float, end: float, steps: int) -> NDArray[np.float64]:
    """(steps,) half a cosine from `start` towards `end`, which the step after the last would reach."""
    return end + 0.5 * (start - end) * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))

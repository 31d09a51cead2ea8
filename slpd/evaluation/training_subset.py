"""A share of a fold's training slides, drawn as HIPT draws its 25 %."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide

HIPT_SEED = 1  # of pandas' DataFrame.sample, whose draw this is


def thin_training(folds: Sequence[Fold], fraction: float) -> list[Fold]:
    """The folds with a share of their training slides; validation and test stay whole.

    The draw is HIPT's, `DataFrame.sample(frac, random_state=1)`: same slides, same order. It draws slides in
    tasks of level patient too, so that tasks of both levels train on the same slides; a patient may keep only some.
    """
    return [replace(fold, train=sampled(fold.train, fraction)) for fold in folds]


def sampled(slides: Sequence[LabelledSlide], fraction: float) -> list[LabelledSlide]:
    """Slides drawn without replacement, in the order of the draw; all of them, unmoved, for a fraction of 1."""
    if fraction == 1:
        return list(slides)
    size = round(fraction * len(slides))
    chosen = np.random.RandomState(HIPT_SEED).choice(len(slides), size, replace=False)
    return [slides[number] for number in chosen]

"""Few-shot training sets: so many training cases of each class, drawn several times in each fold."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.errors import UserError
from slpd.evaluation.cases import grouped
from slpd.settings.evaluation import ClassTask, ImportedFolds, TaskSettings

IMPORTED_SEED = 1  # of draws in imported folds, which state none; as HIPT's draw of a share of them


def few_shot_folds(folds: Sequence[Fold], task: TaskSettings) -> list[Fold]:
    """The folds as they are, or each as many times as training sets are drawn, draws of a fold one after the other.

    A draw depends on the seed of the folds, the fold's number and its own.

    Raises:
        UserError: a class has too few training cases in a fold.
    """
    if not isinstance(task, ClassTask) or task.folds.train_per_class is None:
        return list(folds)
    seed = IMPORTED_SEED if isinstance(task.folds, ImportedFolds) else task.folds.seed
    return [
        replace(fold, train=draw_training(task, number, fold, np.random.default_rng((seed, number, draw))))
        for number, fold in enumerate(folds)
        for draw in range(task.folds.n_draws)
    ]


def draw_training(task: ClassTask, number: int, fold: Fold, rng: np.random.Generator) -> list[LabelledSlide]:
    """`train_per_class` training cases of each class of a fold, without replacement, in their order."""
    cases, k = grouped(fold.train, task.level), task.folds.train_per_class
    assert k is not None, "there is a number to draw"
    drawn: set[int] = set()
    for name in task.classes:
        of_class = [place for place, case in enumerate(cases) if case[0].label == name]
        if len(of_class) < k:
            raise UserError(
                f"task {task.name}: folds.train_per_class is {k}, but fold {number} has {len(of_class)} training"
                f" {task.level}s of class {name}; lower it, or use more folds or less validation"
            )
        drawn.update(rng.choice(of_class, k, replace=False).tolist())
    return [slide for place in sorted(drawn) for slide in cases[place]]

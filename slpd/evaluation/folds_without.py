"""The folds of a variant that does not have all slides: others keep theirs, and captions say what is missing."""

from collections.abc import Collection, Sequence

from slpd.artifacts.evaluation.folds import Fold
from slpd.errors import EvaluationError


def folds_without(folds: Sequence[Fold], absent: Collection[str]) -> list[Fold]:
    """Folds without some slides, which stay in the same splits otherwise.

    Raises:
        EvaluationError: no training or no test slide of a fold is left.
    """
    left = [
        Fold(
            **{split: [slide for slide in slides if slide.slide not in absent] for split, slides in fold.splits.items()}
        )
        for fold in folds
    ]
    for number, fold in enumerate(left):
        for split in ("train", "test"):
            if not fold.splits[split]:
                raise EvaluationError(f"fold {number}: none of its {split} slides has vectors")
    return left

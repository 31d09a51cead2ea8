"""The bags and class numbers of a fold, checked, as heads take them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.folds import SPLITS, Fold, LabelledSlide
from slpd.errors import UserError


@dataclass(frozen=True)
class LabelledBags:
    """The slides of one split."""

    bags: list[NDArray[np.float32]]  # (n regions, D) each
    classes: NDArray[np.int64]  # (n slides,), class numbers


@dataclass(frozen=True)
class FoldBags:
    """The three splits of a fold."""

    train: LabelledBags
    val: LabelledBags  # may be empty
    test: LabelledBags


def fold_bags(bags: Mapping[str, NDArray[np.float32]], folds: Sequence[Fold], classes: Sequence[str]) -> list[FoldBags]:
    """The bags of every fold.

    Args:
        bags: Slide id -> (n, D) region vectors.
        folds: The folds of a task.
        classes: Class names; the order gives class 0, 1, ...

    Raises:
        UserError: a slide has no bag, no regions, values that are not finite or an unknown label; or the training
            slides of a fold have fewer than two classes.
    """
    slides = {slide.slide: slide for fold in folds for split in SPLITS for slide in getattr(fold, split)}
    for slide in slides.values():
        check_bag(slide, bags, classes)
    for number, fold in enumerate(folds):
        labels = sorted({slide.label for slide in fold.train})
        if len(labels) < 2:
            raise UserError(
                f"fold {number}: all {len(fold.train)} training slides are of class {', '.join(labels)};"
                " use fewer folds, label more slides or correct the split file"
            )
    return [FoldBags(*(labelled_bags(bags, getattr(fold, split), classes) for split in SPLITS)) for fold in folds]


def check_bag(slide: LabelledSlide, bags: Mapping[str, NDArray[np.float32]], classes: Sequence[str]) -> None:
    """Refuse a slide that no head can take."""
    if slide.slide not in bags:
        raise UserError(f"slide {slide.slide}: in the folds but not in the bags; run split_folds and embed_bags again")
    if not len(bags[slide.slide]):
        raise UserError(f"slide {slide.slide}: its bag has no regions; run embed_bags again")
    n_bad = int((~np.isfinite(bags[slide.slide]).all(axis=1)).sum())
    if n_bad:
        raise UserError(
            f"slide {slide.slide}: {n_bad} of {len(bags[slide.slide])} region vectors hold NaN or infinity;"
            " check its patch tokens and the training log"
        )
    if slide.label not in classes:
        raise UserError(
            f"slide {slide.slide}: label {slide.label!r} in the folds is not one of {', '.join(classes)};"
            " run split_folds again"
        )


def labelled_bags(
    bags: Mapping[str, NDArray[np.float32]], slides: Sequence[LabelledSlide], classes: Sequence[str]
) -> LabelledBags:
    """The bags and class numbers of some slides, in their order."""
    numbers = np.array([classes.index(slide.label) for slide in slides], dtype=np.int64)
    return LabelledBags([bags[slide.slide] for slide in slides], numbers)

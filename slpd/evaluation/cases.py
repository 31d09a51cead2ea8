"""What heads learn from and predict: the cases of every fold, checked.

A case is a slide, or in a task of level `patient` a patient with the patient's slides in that split; its bag is the
region vectors of all its slides.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.learned.bags import Bag
from slpd.errors import UserError
from slpd.evaluation.stored_features import Features, joined
from slpd.evaluation.survival import interval_of, interval_starts
from slpd.evaluation.tasks import SEEN
from slpd.evaluation.training_classes import check_training
from slpd.settings.evaluation import ClassTask, ImportedFolds, Level, SurvivalTask, TaskSettings

NO_INTERVALS = np.empty(0)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcomes:
    """The truth of n cases: classes, or times to events."""

    numbers: NDArray[np.int64]  # (n,) class number; of a survival task the interval of time
    observed: NDArray[np.bool_]  # (n,) false: censored; classes are all observed
    values: NDArray[np.float64]  # (n,) time to event or censoring; of a regression the target; NaN for classes


@dataclass(frozen=True)
class Cases:
    """The cases of one split."""

    slides: list[list[LabelledSlide]]  # of each case
    sizes: list[list[int]]  # of each case: regions of each of its slides
    rows: list[NDArray[np.int64]]  # of each case: rows of `EvaluationData.features`
    outcomes: Outcomes

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.rows)


@dataclass(frozen=True)
class FoldCases:
    """The cases of one fold."""

    train: Cases
    val: Cases  # may be empty
    test: Cases
    starts: NDArray[np.float64]  # (n_bins - 1,) where intervals 1, 2, ... of time begin; empty: no survival task

    @property
    def cut_by(self) -> Cases:
        """The cases by which a cut through a head's outputs is chosen: those of validation, in survival of training.

        Survival is cut at the median risk, which needs no outcomes, but more cases than validation has.
        """
        return self.train if len(self.starts) else self.val


@dataclass(frozen=True)
class TaskShape:
    """What goes into a network and comes out of it."""

    width: int  # values of a region vector
    n_outputs: int  # logits: of classes, or of hazards; one of a relative hazard
    survival: bool  # a case is at risk of an event


@dataclass(frozen=True)
class EvaluationData:
    """All that a head is given."""

    features: Features  # (R, D) region vectors
    folds: list[FoldCases]
    task: TaskSettings

    @property
    def n_outputs(self) -> int:
        """Classes, or intervals of time; 1 of a regression."""
        return len(self.task.outputs)

    @property
    def survival(self) -> bool:
        """Whether outputs are hazards."""
        return isinstance(self.task, SurvivalTask)

    @property
    def shape(self) -> TaskShape:
        """Of networks for these cases."""
        return TaskShape(self.features.shape[1], self.task.n_logits, self.survival)


def evaluation_data(bags: Mapping[str, Bag], folds: Sequence[Fold], task: TaskSettings) -> EvaluationData:
    """The cases of every fold.

    Args:
        bags: Slide id -> (n, D) region vectors.
        folds: The folds of the task.
        task: Its classes or intervals, and its level.

    Raises:
        UserError: a slide has no bag, no regions, values that are not finite, another width or an unknown label; a
            slide is in two splits, or (of generated folds) a patient is.
        EvaluationError: a fold cannot be trained on.
    """
    for number, fold in enumerate(folds):
        check_fold(number, fold, task)
    slides = {slide.slide: slide for fold in folds for slide in fold.slides}
    check_bags(slides.values(), bags)
    starts = np.concatenate([[0], np.cumsum([len(bags[slide]) for slide in slides])])
    rows = {slide: np.arange(*starts[i : i + 2]) for i, slide in enumerate(slides)}
    return EvaluationData(
        features=joined([bags[slide] for slide in slides]),
        folds=[fold_cases(number, fold, rows, task) for number, fold in enumerate(folds)],
        task=task,
    )


def check_fold(number: int, fold: Fold, task: TaskSettings) -> None:
    """Refuse a fold that leaks or that no head can learn from."""
    refuse_leaks(number, fold, not isinstance(task.folds, ImportedFolds))
    if not fold.test:
        raise UserError(f"fold {number}: no test slides; run split_folds again")
    check_training(task, number, fold)
    if not isinstance(task, ClassTask):
        return
    for slide in fold.slides:
        if slide.label not in task.classes:
            raise UserError(
                f"fold {number}: slide {slide.slide}: label {slide.label!r} in the folds is not one of"
                f" {', '.join(task.classes)}; run split_folds again"
            )


def refuse_leaks(number: int, fold: Fold, generated: bool) -> None:
    """Refuse a preserved site in test and training, a slide in two splits, and in generated folds a patient.

    Imported folds were asked about patients.
    """
    tested_sites = {slide.site for slide in fold.test} - {""}
    for slide in fold.train + fold.val:
        if slide.site in tested_sites:
            raise UserError(f"fold {number}: site {slide.site} is tested and trained; run split_folds again")
    split_of: dict[str, str] = {}
    split_of_patient: dict[str, str] = {}
    for split, slides in fold.splits.items():
        for slide in slides:
            other = split_of.setdefault(slide.slide, split)
            if other != split:
                raise UserError(f"fold {number}: slide {slide.slide} is in {other} and {split}; run split_folds again")
            other = split_of_patient.setdefault(slide.patient, split)
            if generated and other != split:
                raise UserError(
                    f"fold {number}: patient {slide.patient} (slide {slide.slide}) is in {other} and {split}, which"
                    " generated folds never do; run split_folds again"
                )


def check_bags(slides: Iterable[LabelledSlide], bags: Mapping[str, Bag]) -> None:
    """Refuse bags that no head can take."""
    width, first = 0, ""
    for slide in (slide.slide for slide in slides):
        if slide not in bags:
            raise UserError(f"slide {slide}: in the folds but not in the bags; run split_folds and embed_bags again")
        bag = bags[slide]
        if not len(bag):
            raise UserError(f"slide {slide}: its bag has no regions; run embed_bags again")
        n_bad = int((~np.isfinite(np.asarray(bag)).all(axis=1)).sum())
        if n_bad:
            raise UserError(
                f"slide {slide}: {n_bad} of {len(bag)} region vectors hold NaN or infinity;"
                " check its patch tokens and the training log"
            )
        width, first = width or bag.shape[1], first or slide
        if bag.shape[1] != width:
            raise UserError(
                f"slide {slide}: region vectors of {bag.shape[1]} values, those of slide {first} have {width};"
                " run embed_bags again"
            )


def fold_cases(number: int, fold: Fold, rows: Mapping[str, NDArray[np.int64]], task: TaskSettings) -> FoldCases:
    """The cases of one fold; the intervals of time are those of its training cases."""
    train, val, test = (grouped(slides, task.level) for slides in (fold.train, fold.val, fold.test))
    outcomes: Callable[[Sequence[Sequence[LabelledSlide]]], Outcomes]
    if isinstance(task, SurvivalTask):
        starts = time_intervals(number, train, task)
        outcomes = partial(survival_outcomes, starts=starts)
    elif isinstance(task, ClassTask):
        starts, outcomes = NO_INTERVALS, partial(class_outcomes, classes=task.classes)
    else:
        starts, outcomes = NO_INTERVALS, value_outcomes
    splits = [split_cases(groups, rows, outcomes(groups)) for groups in (train, val, test)]
    return FoldCases(splits[0], splits[1], splits[2], starts)


def split_cases(groups: list[list[LabelledSlide]], rows: Mapping[str, NDArray[np.int64]], outcomes: Outcomes) -> Cases:
    """The cases of one split, from the slides of each and the rows of each slide."""
    return Cases(
        groups,
        [[len(rows[slide.slide]) for slide in case] for case in groups],
        [rows_of(case, rows) for case in groups],
        outcomes,
    )


def rows_of(case: Sequence[LabelledSlide], rows: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The rows of all slides of a case; those of a single slide are no copy: bags of patches are long, folds many."""
    return rows[case[0].slide] if len(case) == 1 else np.concatenate([rows[slide.slide] for slide in case])


def time_intervals(number: int, train: Sequence[Sequence[LabelledSlide]], task: SurvivalTask) -> NDArray[np.float64]:
    """Where the intervals of a fold's training cases begin, (n_bins - 1,).

    Raises:
        EvaluationError: there are too few events.
    """
    times, seen = times_of(train), seen_of(train)
    return interval_starts(times[seen], task.n_bins, f"task {task.name}, fold {number}")


def grouped(slides: Sequence[LabelledSlide], level: Level) -> list[list[LabelledSlide]]:
    """The slides of every case: one each, or those of a patient, patients in the order of their first slide."""
    if level == "slide":
        return [[slide] for slide in slides]
    patients: dict[str, list[LabelledSlide]] = {}
    for slide in slides:
        patients.setdefault(slide.patient, []).append(slide)
    return list(patients.values())


def class_outcomes(cases: Sequence[Sequence[LabelledSlide]], classes: Sequence[str]) -> Outcomes:
    """The classes of cases."""
    numbers = np.array([classes.index(case[0].label) for case in cases], dtype=np.int64)
    return Outcomes(numbers, np.ones(len(cases), bool), np.full(len(cases), np.nan))


def value_outcomes(cases: Sequence[Sequence[LabelledSlide]]) -> Outcomes:
    """The targets of a regression."""
    return Outcomes(np.zeros(len(cases), np.int64), np.ones(len(cases), bool), times_of(cases))


def survival_outcomes(cases: Sequence[Sequence[LabelledSlide]], starts: NDArray[np.float64]) -> Outcomes:
    """Times, events, and the interval of each time."""
    times = times_of(cases)
    return Outcomes(interval_of(times, starts), seen_of(cases), times)


def times_of(cases: Sequence[Sequence[LabelledSlide]]) -> NDArray[np.float64]:
    """Labels that are numbers: times to event or censoring, or targets, (n,)."""
    return np.array([float(case[0].label) for case in cases], dtype=np.float64)


def seen_of(cases: Sequence[Sequence[LabelledSlide]]) -> NDArray[np.bool_]:
    """Which events were seen, (n,)."""
    return np.array([case[0].event == SEEN for case in cases], dtype=bool)

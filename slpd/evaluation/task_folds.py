"""The folds of a task: generated, all slides in one, or those of its split files."""

from collections.abc import Sequence
from pathlib import Path

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.outside.split_files import SplitIds, read_split_files
from slpd.evaluation.few_shot import few_shot_folds
from slpd.evaluation.generated_folds import generate_folds, whole_cohort
from slpd.evaluation.imported_folds import import_folds
from slpd.evaluation.tasks import strata_of
from slpd.evaluation.training_classes import check_training
from slpd.evaluation.training_subset import thin_training
from slpd.settings.evaluation import AllSlides, ImportedFolds, TaskSettings


def splits_of(task: TaskSettings) -> list[SplitIds]:
    """The split files of a task; none where its folds are generated."""
    return read_split_files(Path(task.folds.folder)) if isinstance(task.folds, ImportedFolds) else []


def make_folds(task: TaskSettings, slides: Sequence[LabelledSlide]) -> list[Fold]:
    """The folds of a task's labelled, usable slides of the cohort that heads are trained on.

    Raises:
        UserError: they cannot be made, or a fold cannot be trained on.
    """
    if isinstance(task.folds, ImportedFolds):
        whole = import_folds(task.name, splits_of(task), slides, task.folds.allow_patient_overlap)
        folds = thin_training(whole, task.folds.train_fraction)
    elif isinstance(task.folds, AllSlides):
        folds = with_labels([whole_cohort(*strata_of(task, slides), task.folds)], slides)
    else:
        folds = with_labels(generate_folds(*strata_of(task, slides), task.folds), slides)
    folds = few_shot_folds(folds, task)
    for number, fold in enumerate(folds):
        check_training(task, number, fold)
    return folds


def stratified_folds(task: TaskSettings, folds: Sequence[Fold]) -> tuple[list[str], list[Fold]]:
    """What folds spread evenly, and the folds with their slides labelled by it."""
    strata, slides = strata_of(task, list({slide.slide: slide for fold in folds for slide in fold.slides}.values()))
    return strata, with_labels(folds, slides)


def with_labels(folds: Sequence[Fold], slides: Sequence[LabelledSlide]) -> list[Fold]:
    """The folds with their slides as labelled here."""
    labelled = {slide.slide: slide for slide in slides}
    return [
        Fold(**{split: [labelled[slide.slide] for slide in some] for split, some in fold.splits.items()})
        for fold in folds
    ]

"""The folds of a task: generated, all slides in one, or those of its split files."""

from collections.abc import Sequence
from pathlib import Path

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.outside.split_files import SplitIds, read_split_files
from slpd.evaluation.few_shot import few_shot_folds
from slpd.evaluation.generated_folds import generate_folds, whole_cohort
from slpd.evaluation.imported_folds import import_folds
from slpd.evaluation.preserved_sites import site_warnings
from slpd.evaluation.tasks import SEEN, strata_of
from slpd.evaluation.training_classes import check_training, untrained_text
from slpd.evaluation.training_subset import thin_training
from slpd.settings.evaluation import AllSlides, ClassTask, ImportedFolds, SurvivalTask, TaskSettings


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


def fold_warnings(task: TaskSettings, folds: Sequence[Fold]) -> list[str]:
    """What is worth knowing of folds that can be used."""
    _, by_stratum = stratified_folds(task, folds)
    return [*untrained_text(task, folds), *site_warnings(by_stratum), *untested_text(task, folds)]


def untested_text(task: TaskSettings, folds: Sequence[Fold]) -> list[str]:
    """Classes, or events, that some folds do not test, where metrics such as the AUC are not defined."""
    wanted = {name: f"of class {name}" for name in task.classes} if isinstance(task, ClassTask) else {}
    wanted |= {SEEN: "with an event"} if isinstance(task, SurvivalTask) else {}
    lines = []
    for stratum, words in wanted.items():
        without = [k for k, fold in enumerate(folds) if fold.test and stratum not in {s.stratum for s in fold.test}]
        if without:
            which = "any fold" if len(without) == len(folds) else f"fold{'s' * (len(without) > 1)}"
            numbers = "" if len(without) == len(folds) else f" {', '.join(map(str, without))}"
            lines.append(f"no test slide {words} in {which}{numbers}")
    return lines


def with_labels(folds: Sequence[Fold], slides: Sequence[LabelledSlide]) -> list[Fold]:
    """The folds with their slides as labelled here."""
    labelled = {slide.slide: slide for slide in slides}
    return [
        Fold(**{split: [labelled[slide.slide] for slide in some] for split, some in fold.splits.items()})
        for fold in folds
    ]

"""Whether a fold's training slides suffice to learn from. Light: checked before GPU time is spent, and again later."""

from collections.abc import Sequence

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.errors import EvaluationError
from slpd.evaluation.tasks import SEEN
from slpd.settings.evaluation import ClassTask, GeneratedFolds, ImportedFolds, Level, SurvivalTask, TaskSettings
from slpd.settings.heads import KnnHead, LogisticHead


def check_training(task: TaskSettings, number: int, fold: Fold) -> None:
    """Refuse a fold that no head can learn from.

    Raises:
        EvaluationError: it has no training slides, or all are of one class.
    """
    classes = sorted({slide.label for slide in fold.train})
    if fold.train and (isinstance(task, SurvivalTask) or len(classes) > 1):
        return
    word = "class" if isinstance(task, ClassTask) else "value"
    what = f"all {len(fold.train)} training slides are of {word} {classes[0]}" if fold.train else "no training slides"
    raise EvaluationError(f"task {task.name}, fold {number}: {what}; {advice(task, number)}")


def advice(task: TaskSettings, number: int) -> str:
    """What to do about a fold with the wrong training slides."""
    if not isinstance(task.folds, ImportedFolds):
        fewer = "use fewer folds, " if isinstance(task.folds, GeneratedFolds) else ""
        return f"{fewer}lower folds.validation_fraction of the task, or label more slides"
    drawn = task.folds.train_fraction
    share = f"raise folds.train_fraction of the task ({drawn:g}), or " if drawn < 1 else ""
    return f"{share}correct splits_{number}.csv in {task.folds.folder}, or see why its slides were left out"


def check_neighbours(head: KnnHead, number: int, n_training: int, level: Level) -> None:
    """Refuse a fold with fewer training cases than the head looks for.

    Raises:
        EvaluationError: there are fewer than k.
    """
    if n_training < head.k:
        raise EvaluationError(
            f"head {head.name}: k is {head.k}, but fold {number} has {n_training} training {level}s; lower k of the"
            " head"
        )


def check_validation(head: LogisticHead, task: TaskSettings, number: int, slides: Sequence[LabelledSlide]) -> None:
    """Refuse a fold whose validation slides cannot choose a penalty, where the head has several.

    Raises:
        EvaluationError: there are none, all are of one class, or none has an event.
    """
    if len(head.grid) > 1 and (lack := lack_of_validation(task, slides)):
        raise EvaluationError(
            f"head {head.name}: it would choose its inverse_penalty on validation cases, but fold {number} has {lack};"
            " give it one value, or raise folds.validation_fraction of the task"
        )


def lack_of_validation(task: TaskSettings, slides: Sequence[LabelledSlide]) -> str:
    """Why a loss of these slides says nothing; empty: it does. Objectives of heads are as strict or stricter."""
    strata = {slide.stratum for slide in slides}
    if not strata:
        return "none"
    if isinstance(task, ClassTask) and len(strata) == 1:
        return f"only cases of class {min(strata)}"
    return "none with an event" if isinstance(task, SurvivalTask) and SEEN not in strata else ""


def classes_not_trained(task: TaskSettings, folds: Sequence[Fold]) -> dict[str, list[int]]:
    """Class -> the folds in which no training slide has it: what heads predict of it there is not learnt."""
    if not isinstance(task, ClassTask):
        return {}
    trained = [{slide.label for slide in fold.train} for fold in folds]
    without = {name: [k for k, classes in enumerate(trained) if name not in classes] for name in task.classes}
    return {name: numbers for name, numbers in without.items() if numbers}


def untrained_text(task: TaskSettings, folds: Sequence[Fold]) -> list[str]:
    """A line for each class that is not trained in some folds."""
    return [
        f"class {name} has no training slide in {len(numbers)} of {len(folds)} folds ({', '.join(map(str, numbers))}),"
        " where heads cannot learn it"
        for name, numbers in classes_not_trained(task, folds).items()
    ]

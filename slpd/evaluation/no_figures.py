"""Which evaluations will have no figures, as far as folds tell before anything is encoded."""

from collections.abc import Sequence

from slpd.artifacts.evaluation.folds import Fold
from slpd.errors import EvaluationError
from slpd.evaluation.cases import grouped, time_intervals
from slpd.evaluation.tasks import n_cases
from slpd.evaluation.training_classes import check_neighbours, check_validation
from slpd.settings.evaluation import SurvivalTask, TaskSettings
from slpd.settings.heads import AnyHead, KnnHead, LogisticHead


def no_figures_text(task: TaskSettings, folds: Sequence[Fold], heads: Sequence[AnyHead]) -> list[str]:
    """A line for each head that a task's folds do not allow, with the first cause. `evaluate` comes to the same end."""
    causes = [(head.name, cause) for head in heads for cause in [first_cause(task, folds, head)] if cause]
    return [f"task {task.name}, head {name}: its cells will have no figures: {cause}" for name, cause in causes]


def first_cause(task: TaskSettings, folds: Sequence[Fold], head: AnyHead) -> EvaluationError | None:
    """Why a head cannot be evaluated by a task's folds; None: nothing is known against it."""
    try:
        for number, fold in enumerate(folds):
            if isinstance(task, SurvivalTask):
                time_intervals(number, grouped(fold.train, task.level), task)
            if isinstance(head, KnnHead):
                check_neighbours(head, number, n_cases(fold.train, task), task.level)
            if isinstance(head, LogisticHead):
                check_validation(head, task, number, fold.val)
    except EvaluationError as error:
        return error
    return None

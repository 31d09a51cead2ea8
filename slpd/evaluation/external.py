"""External validation: heads that learn on one cohort are tested on another, of other patients.

Light: the workflow calls it at every start.
"""

from collections.abc import Sequence
from dataclasses import replace

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError, first_of
from slpd.evaluation.tasks import SEEN, labelled_slides
from slpd.settings.evaluation import SurvivalTask, TaskSettings

NAMED = 3  # patients or slides in a message


def external_slides(task: TaskSettings, trained: Sequence[SheetRow], tested: Sequence[SheetRow]) -> list[LabelledSlide]:
    """The labelled slides of the cohort that a task is tested on, in order of slide id.

    Args:
        task: With a test cohort.
        trained: The sheet of the cohort that encoders and heads learn from.
        tested: That of the test cohort, or the lines of it that can be used.

    Raises:
        UserError: there are none, none has the event of a survival task, or patients or slide ids are in both
            cohorts.
    """
    slides = sorted(labelled_slides(task.on_test_cohort(), tested), key=lambda slide: slide.slide)
    if not slides:
        raise UserError(
            f"task {task.name}: no usable slide of its test_cohort {task.test_cohort} has a label; fill column"
            f" {' and '.join(task.columns)} of that sheet"
        )
    if isinstance(task, SurvivalTask) and all(slide.event != SEEN for slide in slides):
        raise UserError(
            f"task {task.name}: no usable slide of its test_cohort {task.test_cohort} has {task.event} 1, so that no"
            " metric is defined; fill that column, or test another cohort"
        )
    known, ids = {row.patient for row in trained}, {row.slide for row in trained}
    shared = sorted({slide.patient for slide in slides} & known)
    if shared:  # also without a label: encoders have learnt on them
        raise UserError(
            f"task {task.name}: {len(shared)} patients of its test_cohort {task.test_cohort} are also in cohort"
            f" {task.cohort}, on which encoders and heads are trained: {first_of(shared, NAMED)}; remove their slides"
            " from one of the sheets, or leave their labels in the test cohort's sheet empty"
        )
    twice = [slide.slide for slide in slides if slide.slide in ids]
    if twice:
        raise UserError(
            f"task {task.name}: {len(twice)} slide ids are in cohorts {task.cohort} and {task.test_cohort}, of"
            f" different patients: {first_of(twice, NAMED)}; give different slides different ids"
        )
    return slides


def folds_tested_on(folds: Sequence[Fold], slides: Sequence[LabelledSlide]) -> list[Fold]:
    """The folds with the same slides to test in each, in place of their own."""
    return [replace(fold, test=list(slides)) for fold in folds]

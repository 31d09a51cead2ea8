"""The slides of a task, and whether they suffice for it.

Costs neither numpy nor torch: the workflow calls it at every start with the whole sheet, and again with the
usable slides before jobs that need a GPU.
"""

from collections import Counter
from collections.abc import Sequence

from slpd.artifacts.folds import LabelledSlide
from slpd.artifacts.sheet import SheetRow
from slpd.errors import UserError
from slpd.settings.evaluation import GeneratedFolds, Task


def labelled_slides(task: Task, rows: Sequence[SheetRow]) -> list[LabelledSlide]:
    """The slides of a sheet that have a label for the task, in the order of the sheet.

    Raises:
        UserError: the sheet has no such label column, or a label is not one of the task's classes.
    """
    slides = []
    for row in rows:
        if task.label not in row.labels:
            columns = ", ".join(row.labels) or "none"
            raise UserError(
                f"task {task.name}: no label column {task.label!r} in the sheet of cohort {task.cohort};"
                f" its label columns are: {columns}"
            )
        label = row.labels[task.label]
        if label and label not in task.classes:
            raise UserError(
                f"task {task.name}: slide {row.slide} has {task.label} {label!r}, not one of"
                f" {', '.join(task.classes)}; correct it, add the class to the task, or leave the cell empty"
            )
        if label:
            slides.append(LabelledSlide(row.slide, row.patient, label))
    return slides


def check_task(task: Task, slides: Sequence[LabelledSlide]) -> None:
    """Refuse a task that its slides cannot carry.

    Raises:
        UserError: fewer than two classes have slides, or generated folds would leave a test set without a class.
    """
    n_slides = Counter(slide.label for slide in slides)
    counts = ", ".join(f"{name}: {n_slides[name]}" for name in task.classes)
    if len(n_slides) < 2:
        raise UserError(
            f"task {task.name}: slides of at least two classes are needed, there are {counts};"
            f" label more slides in column {task.label}"
        )
    absent = [name for name in task.classes if not n_slides[name]]
    if absent:
        raise UserError(
            f"task {task.name}: class {absent[0]} has no slides ({counts});"
            f" label slides in column {task.label} or remove the class from the task"
        )
    if isinstance(task.folds, GeneratedFolds):
        check_fold_count(task.name, task.folds.n_folds, patients_by_class(task.classes, slides))


def check_fold_count(task: str, n_folds: int, patients: dict[str, list[str]]) -> None:
    """Refuse more folds than the rarest class has patients."""
    counts = ", ".join(f"{name}: {len(group)}" for name, group in patients.items())
    rarest = min(patients, key=lambda name: len(patients[name]))
    if len(patients[rarest]) < n_folds:
        raise UserError(
            f"task {task}: class {rarest} has {len(patients[rarest])} patients, fewer than the {n_folds} folds"
            f" (patients of {counts}); lower folds.n_folds of the task or add slides of this class"
        )


def patients_by_class(classes: Sequence[str], slides: Sequence[LabelledSlide]) -> dict[str, list[str]]:
    """The patients of each class, in order of patient id.

    A patient whose slides have several labels counts once, under the most frequent one (of equally frequent
    ones the first in the order of `classes`).
    """
    labels: dict[str, Counter[str]] = {}
    for slide in slides:
        labels.setdefault(slide.patient, Counter())[slide.label] += 1
    strata: dict[str, list[str]] = {name: [] for name in classes}
    for patient in sorted(labels):
        strata[max(classes, key=labels[patient].__getitem__)].append(patient)
    return strata

"""The slides of a task, and whether they suffice for it.

Costs neither numpy nor torch: the workflow calls it at every start with the whole sheet, and again with the
usable slides before jobs that need a GPU.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from slpd.analysis.slide_properties import column_value
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.spelling import look_alike
from slpd.errors import UserError
from slpd.evaluation.preserved_sites import check_sites
from slpd.settings.evaluation import ClassTask, GeneratedFolds, RegressionTask, SurvivalTask, TaskSettings

CENSORED, SEEN = "0", "1"
VALUE_GROUPS = 4  # of a regression, which folds spread evenly


def labelled_slides(task: TaskSettings, rows: Sequence[SheetRow]) -> list[LabelledSlide]:
    """The slides of a sheet that have a label for the task, in the order of the sheet.

    Raises:
        UserError: the sheet has no such label column; a label is not one of the task's classes, or no time or event;
            or the task predicts patients, and slides of one differ in their label.
    """
    slides = [slide for row in rows for slide in [labelled_slide(task, row)] if slide]
    if task.level == "patient":
        refuse_mixed_patients(task, slides)
    return slides


def labelled_slide(task: TaskSettings, row: SheetRow) -> LabelledSlide | None:
    """A line of the sheet as a slide of the task; None: it has no label."""
    for column in task.columns:
        if column not in row.labels:
            columns = ", ".join(row.labels) or "none"
            raise UserError(
                f"task {task.name}: no label column {column!r} in the sheet of cohort {task.cohort};"
                f" its label columns are: {columns}{look_alike(column, row.labels)}"
            )
    site = site_of(task, row)
    if isinstance(task, SurvivalTask):
        return survival_slide(task, row, site)
    label = row.labels[task.label]
    if isinstance(task, RegressionTask):
        if label and not is_number(label):
            raise UserError(
                f"task {task.name}: slide {row.slide} has {task.label} {label!r}; write a number, or leave the cell"
                " empty"
            )
        return LabelledSlide(row.slide, row.patient, label, site=site) if label else None
    if label and label not in task.classes:
        raise UserError(
            f"task {task.name}: slide {row.slide} has {task.label} {label!r}, not one of"
            f" {', '.join(task.classes)}; correct it, add the class to the task, or leave the cell empty"
            f"{look_alike(label, task.classes)}"
        )
    return LabelledSlide(row.slide, row.patient, label, site=site) if label else None


def site_of(task: TaskSettings, row: SheetRow) -> str:
    """The value that the folds of a task keep together; empty: unknown, or they keep nothing together."""
    column = task.folds.preserve if isinstance(task.folds, GeneratedFolds) else None
    return column_value(row, column) if column else ""


def survival_slide(task: SurvivalTask, row: SheetRow, site: str) -> LabelledSlide | None:
    """A line of the sheet as a slide of a survival task; None: its time or event is empty."""
    time, event = row.labels[task.time], row.labels[task.event]
    if not time or not event:
        return None
    if event not in (CENSORED, SEEN):
        raise UserError(
            f"task {task.name}: slide {row.slide} has {task.event} {event!r}; write 1 (seen), 0 (censored), or leave"
            " the cell empty"
        )
    if not is_number(time) or float(time) < 0:
        raise UserError(
            f"task {task.name}: slide {row.slide} has {task.time} {time!r}; write a time of 0 or more, or leave the"
            " cell empty"
        )
    return LabelledSlide(row.slide, row.patient, time, event, site)


def is_number(text: str) -> bool:
    """Whether a cell is a finite number; what Python alone reads as one (1_0) is none."""
    try:
        return text.isascii() and "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def refuse_mixed_patients(task: TaskSettings, slides: Sequence[LabelledSlide]) -> None:
    """Refuse a patient whose slides have different labels."""
    first: dict[str, LabelledSlide] = {}
    for slide in slides:
        other = first.setdefault(slide.patient, slide)
        if outcome(task, other) != outcome(task, slide):
            raise UserError(
                f"task {task.name}: patient {slide.patient} has slides of different labels ({other.slide}:"
                f" {label_text(other)}, {slide.slide}: {label_text(slide)}); correct the sheet, or set level: slide"
            )


def outcome(task: TaskSettings, slide: LabelledSlide) -> tuple[str | float, str]:
    """Class, or number (12 and 12.0 are one), and the event of a time."""
    return (slide.label if isinstance(task, ClassTask) else float(slide.label)), slide.event


def label_text(slide: LabelledSlide) -> str:
    """A label, and with it the event."""
    return f"{slide.label} {slide.event}".strip()


def strata_of(task: TaskSettings, slides: Sequence[LabelledSlide]) -> tuple[list[str], list[LabelledSlide]]:
    """What generated folds spread evenly: classes, censored and seen, or groups of values; and the slides by it."""
    if isinstance(task, RegressionTask):
        return value_groups(slides, task.folds.n_folds if isinstance(task.folds, GeneratedFolds) else 1)
    return ([CENSORED, SEEN] if isinstance(task, SurvivalTask) else task.classes), list(slides)


def value_groups(slides: Sequence[LabelledSlide], n_folds: int) -> tuple[list[str], list[LabelledSlide]]:
    """Groups of equally many patients, from low to high mean values, and the slides with their group as label.

    At most VALUE_GROUPS, and so many that each has a patient for every fold, if there are enough.
    """
    values: dict[str, list[float]] = {}
    for slide in slides:
        values.setdefault(slide.patient, []).append(float(slide.label))
    ranked = sorted(values, key=lambda patient: (fmean(values[patient]), patient))
    n_groups = max(1, min(VALUE_GROUPS, len(ranked) // n_folds))
    names = [f"{number + 1} of {n_groups}" for number in range(n_groups)]
    group = {patient: names[place * n_groups // len(ranked)] for place, patient in enumerate(ranked)}
    return names, [replace(slide, label=group[slide.patient]) for slide in slides]


def check_task(task: TaskSettings, slides: Sequence[LabelledSlide]) -> None:
    """Refuse a task that its slides cannot carry.

    Raises:
        UserError: fewer than two classes or values have slides, no event was seen, generated folds would leave a test
            set without a class or an event, or they cannot preserve sites.
    """
    n_slides = Counter(slide.stratum for slide in slides)
    if isinstance(task, SurvivalTask):
        check_events(task, n_slides)
    elif isinstance(task, ClassTask):
        check_class_sizes(task, n_slides)
        check_few_shot(task, slides)
    elif len(n_slides) < 2:
        raise UserError(
            f"task {task.name}: slides of different values are needed, {len(slides)} have"
            f" {', '.join(n_slides) or 'one'}; fill column {task.label}"
        )
    if isinstance(task.folds, GeneratedFolds):
        strata, by_stratum = strata_of(task, slides)
        check_fold_count(task, task.folds.n_folds, patients_by_stratum(strata, by_stratum))
        check_sites(task.name, task.folds, strata, by_stratum)


def check_class_sizes(task: ClassTask, n_slides: Counter[str]) -> None:
    """Refuse a class without slides."""
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


def check_few_shot(task: ClassTask, slides: Sequence[LabelledSlide]) -> None:
    """Refuse more training cases of a class than there are without any tested; folds may leave fewer, known later."""
    k = task.folds.train_per_class
    for name in task.classes if k else ():
        there = n_cases([slide for slide in slides if slide.label == name], task)
        if there <= (k or 0):
            raise UserError(
                f"task {task.name}: folds.train_per_class is {k}, but class {name} has {there} {task.level}s, of which"
                " some are tested; lower it, or label more slides"
            )


def check_events(task: SurvivalTask, n_slides: Counter[str]) -> None:
    """Refuse a survival task without an event."""
    if not n_slides[SEEN]:
        raise UserError(
            f"task {task.name}: no slide has {task.event} 1 (0: {n_slides[CENSORED]}); fill columns {task.time} and"
            f" {task.event}"
        )


def check_fold_count(task: TaskSettings, n_folds: int, patients: dict[str, list[str]]) -> None:
    """Refuse more folds than the rarest class has patients, or than patients have events."""
    survival = isinstance(task, SurvivalTask)
    words = {"survival": getattr(task, "event", ""), "regression": "group of values"}
    word = words.get(task.kind, "class")
    counts = ", ".join(f"{name}: {len(group)}" for name, group in patients.items())
    rarest = SEEN if survival else min(patients, key=lambda name: len(patients[name]))
    if len(patients[rarest]) < n_folds:
        raise UserError(
            f"task {task.name}: {word} {rarest} has {len(patients[rarest])} patients, fewer than the {n_folds} folds"
            f" (patients of {counts}); lower folds.n_folds of the task or add slides of this class"
        )


def n_cases(slides: Sequence[LabelledSlide], task: TaskSettings) -> int:
    """Slides, or patients in a task that predicts these."""
    return len(slides) if task.level == "slide" else len({slide.patient for slide in slides})


def patients_by_stratum(strata: Sequence[str], slides: Sequence[LabelledSlide]) -> dict[str, list[str]]:
    """The patients of each class (or of censored and seen), in order of patient id.

    A patient whose slides have several labels counts once, under the most frequent one (of equally frequent
    ones the first in the order of `strata`).
    """
    labels: dict[str, Counter[str]] = {}
    for slide in slides:
        labels.setdefault(slide.patient, Counter())[slide.stratum] += 1
    patients: dict[str, list[str]] = {name: [] for name in strata}
    for patient in sorted(labels):
        patients[max(strata, key=labels[patient].__getitem__)].append(patient)
    return patients

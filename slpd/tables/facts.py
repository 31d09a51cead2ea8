"""What a caption says of a task: slides used and given, patients, folds, leaks, slides left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slpd.artifacts.evaluation.absent_slides import AbsentSlide
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.slides.manifest import ManifestRow
from slpd.evaluation.balance import balance_text, fold_balance
from slpd.evaluation.imported_folds import patient_overlap, shared_patients
from slpd.evaluation.task_folds import stratified_folds
from slpd.evaluation.tasks import SEEN, n_cases
from slpd.evaluation.training_classes import untrained_text
from slpd.settings.evaluation import GeneratedFolds, RegressionTask, TaskKind, TaskSettings

LISTED = 10  # left-out slides named in a caption; the manifest has them all
NAMED = 3  # slides of each reason named in a caption; not_in_folds.csv has them all


@dataclass(frozen=True)
class TaskFacts:
    """What a caption says of a task."""

    task: str
    kind: TaskKind
    n_given: int  # slides of the cohort
    n_used: int  # slides of the cohort that were not left out
    n_patients: int  # patients in the folds
    n_folds: int
    few_shot: str  # what a caption says of training sets that were drawn; empty: all training slides are used
    test_to_train: float  # test cases per training case, mean over folds
    external: str  # what a caption says of the cohort that all folds test; empty: folds test slides of their own
    classes: dict[str, int]  # class, outcome of a survival task, or range of a regression -> slides in the folds
    leaks: list[int]  # patients in both train and test, of each fold
    validation_leaks: list[int]  # patients in both validation and test, on which an epoch may have been chosen
    untrained: list[str]  # what a caption says of classes without training slides
    preserved: str  # what a caption says of sites that folds keep together; empty: they do not
    absent: dict[str, list[str]]  # reason -> slides that split files name and no fold has
    left_out: list[tuple[str, str]]  # slide, reason
    without_vectors: dict[str, dict[str, list[str]]]  # variant -> reason -> slides of the folds that it does not have

    @property
    def text(self) -> str:
        """The facts, without the left-out slides, in one sentence."""
        classes = ", ".join(f"{name} {count}" for name, count in self.classes.items())
        shared = (("train", self.leaks), ("validation", self.validation_leaks))
        leaks = "".join(
            f", {patients_text(counts)} of each in both {split} and test" for split, counts in shared if any(counts)
        )
        folds = "1 fold" if self.n_folds == 1 else f"{self.n_folds} folds"
        cohorts = "both cohorts" if self.external else "the cohort"
        return (
            f"{self.task}: {self.n_used} of {self.n_given} slides of {cohorts} used; in the folds"
            f" {sum(self.classes.values())} labelled slides of {self.n_patients} patients ({classes});"
            f" {folds}{self.few_shot}{self.external}{leaks}{self.preserved}"
            f"{''.join(f'; {text}' for text in self.untrained)}"
            f"{self.absent_text}{self.without_text}."
        )

    @property
    def absent_text(self) -> str:
        """How many slides of the split files are in no fold, why, and some of their names."""
        return f"; named by the split files but in no fold: {reasons_text(self.absent)}" if self.absent else ""

    @property
    def without_text(self) -> str:
        """Which slides of the folds a variant does not have, so that its figures are of the others."""
        return "".join(
            f"; {variant} without {sum(map(len, groups.values()))} slides of the folds, {reasons_text(groups)}"
            for variant, groups in self.without_vectors.items()
            if groups
        )

    @property
    def left_out_texts(self) -> list[str]:
        """The left-out slides by name and reason; after the first ten, how many more there are."""
        listed = [f"{slide}: {reason}" for slide, reason in self.left_out[:LISTED]]
        n_more = len(self.left_out) - len(listed)
        return [*listed, f"and {n_more} more, listed in slides.csv"] if n_more else listed


def task_facts(
    task: TaskSettings,
    folds: Sequence[Fold],
    manifest: Sequence[ManifestRow],
    absent: Sequence[AbsentSlide],
    without_vectors: Mapping[str, Sequence[AbsentSlide]],
) -> TaskFacts:
    """The facts of a task.

    Args:
        task: The task.
        folds: Its folds.
        manifest: The manifest of its cohort, and that of its test cohort after it.
        absent: Slides that split files name and no fold has.
        without_vectors: Variant of vectors made elsewhere -> slides of the cohort that it does not have.
    """
    slides = {slide.slide: slide for fold in folds for slide in fold.slides}
    left_out = [row.record for row in manifest if not row.used]
    counts = Counter(outcome_name(slide) for slide in slides.values())
    if isinstance(task, RegressionTask):
        low, *_, high = sorted((slide.label for slide in slides.values()), key=float)
        counts = Counter({f"{task.label} from {low} to {high}:": len(slides)})
    return TaskFacts(
        task=task.name,
        kind=task.kind,
        n_given=len(manifest),
        n_used=len(manifest) - len(left_out),
        n_patients=len({slide.patient for slide in slides.values()}),
        n_folds=len(folds),
        few_shot=few_shot_text(task),
        external=external_text(task, folds),
        test_to_train=sum(n_cases(fold.test, task) / n_cases(fold.train, task) for fold in folds) / len(folds),
        classes=dict(sorted(counts.items())),
        leaks=[len(patient_overlap(fold)) for fold in folds],
        validation_leaks=[len(shared_patients(fold.val, fold.test)) for fold in folds],
        untrained=untrained_text(task, folds),
        preserved=preserved_text(task, folds),
        absent=by_reason(absent),
        without_vectors={
            variant: by_reason([entry for entry in entries if entry.slide in slides])
            for variant, entries in without_vectors.items()
        },
        left_out=[(record.slide, reason_text(record.reason, record.slide)) for record in left_out],
    )


def few_shot_text(task: TaskSettings) -> str:
    """What a caption says of training sets that were drawn."""
    k, n = task.folds.train_per_class, task.folds.n_draws
    if k is None:
        return ""
    return f" with {k} training {task.level}{'s' * (k > 1)} of each class" + (
        f", {n} draws of each fold" if n > 1 else ""
    )


def external_text(task: TaskSettings, folds: Sequence[Fold]) -> str:
    """Which cohort is tested, and how large it is; empty: folds test slides of their own."""
    if not task.test_cohort:
        return ""
    tested = {slide.slide: slide.patient for fold in folds for slide in fold.test}
    n_patients = len(set(tested.values()))
    return (
        f", trained on {task.cohort}; external validation: all test the {len(tested)} slides of {n_patients} patients"
        f" of {task.test_cohort}"
    )


def preserved_text(task: TaskSettings, folds: Sequence[Fold]) -> str:
    """What a caption says of sites that folds keep together, and how evenly classes are tested all the same."""
    if not isinstance(task.folds, GeneratedFolds) or not task.folds.preserve:
        return ""
    sites = {slide.site for fold in folds for slide in fold.test}
    balance = balance_text(fold_balance(*stratified_folds(task, folds)))
    column = task.folds.preserve
    return f", no {column} of a test slide in training ({len(sites)} in all; test slides of a fold: {balance})"


def patients_text(counts: Sequence[int]) -> str:
    """How many patients, from the fewest to the most."""
    least, most = min(counts), max(counts)
    if least < most:
        return f"{least} to {most} patients"
    return f"{most} patient{'' if most == 1 else 's'}"


def reasons_text(groups: Mapping[str, Sequence[str]]) -> str:
    """Every reason with the number of its slides and some of their names."""
    return ", ".join(
        f"{len(slides)} {reason} ({', '.join(slides[:NAMED])}{', …' if len(slides) > NAMED else ''})"
        for reason, slides in groups.items()
    )


def by_reason(absent: Sequence[AbsentSlide]) -> dict[str, list[str]]:
    """Reason -> slides."""
    groups: dict[str, list[str]] = {}
    for entry in absent:
        groups.setdefault(entry.reason, []).append(entry.slide)
    return groups


def outcome_name(slide: LabelledSlide) -> str:
    """The class of a slide; in survival tasks whether its event was seen."""
    if not slide.event:
        return slide.label
    return "event seen" if slide.event == SEEN else "censored"


def reason_text(reason: str, slide: str) -> str:
    """A reason without line breaks, control characters and the leading name of the slide."""
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split()).removeprefix(f"slide {slide}: ")

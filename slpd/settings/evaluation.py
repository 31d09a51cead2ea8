"""Settings of evaluation: tasks, their folds, and intervals."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from slpd.settings.section import Fraction, Name, Section, Seed, checked_json


class FewShot(Section):
    """Whether heads are trained on few cases of each class, which all folds can do."""

    train_per_class: int | None = Field(
        default=None,
        gt=0,
        description="training cases of each class that are drawn in a fold, slides or patients as the task's level;"
        " validation and test stay whole; null: all",
    )
    n_draws: int = Field(
        default=1, gt=0, description="draws of `train_per_class` in each fold; every draw counts as a fold"
    )

    @model_validator(mode="after")
    def draws_differ(self) -> Self:
        """Without `train_per_class` every draw would be the same."""
        if self.n_draws > 1 and self.train_per_class is None:
            raise ValueError(
                f"n_draws is {self.n_draws}, but nothing is drawn; give train_per_class, or remove n_draws"
            )
        return self


class GeneratedFolds(FewShot):
    """Stratified folds with all slides of a patient on one side."""

    kind: Literal["generated"]
    n_folds: int = Field(ge=2, description="folds")
    validation_fraction: Fraction = Field(
        lt=1, description="share of each class's training patients kept for validation; 0: no validation"
    )
    seed: Seed = Field(description="seed of the shuffle")
    preserve: str | None = Field(
        default=None,
        description="column of the sheet, `site` say, of which no value is in test and in training; without a column"
        " `site` it is read from TCGA's barcodes; null: slides of all sites are mixed",
    )


class ImportedFolds(FewShot):
    """Folds read from HIPT / CLAM files `splits_<k>.csv` with columns train, val, test."""

    kind: Literal["imported"]
    folder: str = Field(description="folder of the split files")
    allow_patient_overlap: bool = Field(
        description="accept a patient in train and test, or val and test (HIPT's folds)"
    )
    train_fraction: float = Field(
        default=1,
        gt=0,
        le=1,
        description="share of the training slides that is drawn, as HIPT draws its 25 %; slides also where the level"
        " is patient, so that a patient may train with some slides only",
    )

    @model_validator(mode="after")
    def one_draw(self) -> Self:
        """A share and a number per class would be two sizes of one training set."""
        if self.train_fraction < 1 and self.train_per_class is not None:
            raise ValueError("train_fraction stands beside train_per_class; keep one")
        return self


class AllSlides(FewShot):
    """One training on all slides of the cohort, for a task with a `test_cohort`."""

    kind: Literal["all"]
    validation_fraction: Fraction = Field(
        lt=1, description="share of each class's patients kept for validation; 0: no validation"
    )
    seed: Seed = Field(description="seed of the draw of validation patients")


Folds = Annotated[GeneratedFolds | ImportedFolds | AllSlides, Field(discriminator="kind")]
Level = Literal["slide", "patient"]
TaskKind = Literal["subtyping", "ordinal", "survival", "regression"]


class AnyTask(Section):
    """What every task has."""

    name: Name
    cohort: Name
    test_cohort: Name | None = Field(
        default=None,
        description="external validation: the cohort that is tested, with encoders and heads of `cohort`; null: the"
        " folds' test slides",
    )
    level: Level = Field(default="slide", description="what is predicted: slides, or patients from all their slides")
    folds: Folds

    @model_validator(mode="after")
    def has_slides_to_test(self) -> Self:
        """Slides that are tested are no slides that are trained on."""
        if self.test_cohort == self.cohort:
            raise ValueError(f"test_cohort: {self.cohort} is the cohort that heads are trained on; name another one")
        if isinstance(self.folds, AllSlides) and not self.test_cohort:
            raise ValueError("folds: kind all leaves no slides to test; set test_cohort, or kind: generated")
        if isinstance(self.folds, GeneratedFolds) and self.folds.preserve and self.test_cohort:
            raise ValueError(
                f"folds: preserve keeps a {self.folds.preserve} out of training while it is tested, but the slides of"
                f" {self.test_cohort} are tested; leave out preserve or test_cohort"
            )
        return self

    @property
    def cohorts(self) -> list[Name]:
        """The cohort that heads are trained on, and the one that they are tested on where that is another."""
        return [self.cohort, *([self.test_cohort] if self.test_cohort else [])]

    def on_test_cohort(self) -> Self:
        """The task as a reader of the test cohort's sheet needs it."""
        return self.model_copy(update={"cohort": self.test_cohort})

    @model_validator(mode="after")
    def has_classes_to_draw(self) -> Self:
        """Only classes can be drawn equally often."""
        if self.folds.train_per_class is not None and not isinstance(self, ClassTask):
            raise ValueError("folds.train_per_class is of tasks with classes; remove it")
        return self


class ClassTask(AnyTask):
    """Classes of slides or patients: without an order (subtyping), or with one (grades, stages)."""

    kind: Literal["subtyping", "ordinal"] = Field(
        default="subtyping", description="ordinal: the classes are listed from low to high"
    )
    label: str = Field(description="label column of the cohort's sheet; empty cells: slide not in the task")
    classes: list[str] = Field(min_length=2, description="class names; the order gives class 0, 1, ...")

    @model_validator(mode="after")
    def classes_are_distinct(self) -> Self:
        """Every class has a different name, which a cell of the sheet can hold."""
        if any(not name or name != name.strip() for name in self.classes):
            raise ValueError("classes: a name is empty or begins or ends with a space; write it as in the sheet")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is listed twice; list every class once")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the sheet it reads."""
        return (self.label,)

    @property
    def outputs(self) -> list[str]:
        """Names of a head's outputs for a slide: the probability of each class."""
        return [f"prob_{name}" for name in self.classes]

    @property
    def n_logits(self) -> int:
        """Values that a network gives for a case."""
        return len(self.classes)


class SurvivalTask(AnyTask):
    """Time to an event, seen or censored, in discrete time."""

    kind: Literal["survival"]
    time: str = Field(description="column of the sheet with the time to event or censoring; empty: not in the task")
    event: str = Field(description="column of the sheet: 1 the event was seen, 0 the slide's patient is censored")
    n_bins: int = Field(ge=2, description="intervals of time, with equally many training events in each")
    loss: Literal["discrete", "cox"] = Field(
        default="discrete",
        description="of heads that are trained in steps; discrete: likelihood of the intervals' hazards; cox: partial"
        " likelihood (ties: Breslow), with Breslow's baseline hazard in the intervals",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the sheet it reads."""
        return (self.time, self.event)

    @property
    def outputs(self) -> list[str]:
        """Names of a head's outputs for a slide: the hazard in each interval of time."""
        return [f"hazard_{number}" for number in range(self.n_bins)]

    @property
    def n_logits(self) -> int:
        """Values that a network gives for a case."""
        return 1 if self.loss == "cox" else self.n_bins


class RegressionTask(AnyTask):
    """A number of slides or patients: an age, a score, the expression of a gene."""

    kind: Literal["regression"]
    label: str = Field(description="column of the cohort's sheet with numbers; empty cells: slide not in the task")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the sheet it reads."""
        return (self.label,)

    @property
    def outputs(self) -> list[str]:
        """Names of a head's outputs for a slide: the number."""
        return ["value"]

    @property
    def n_logits(self) -> int:
        """Values that a network gives for a case."""
        return 1


TaskSettings = ClassTask | SurvivalTask | RegressionTask


class PredictedCohort(Section):
    """A cohort whose slides are predicted by the trained heads of a task; they need no labels."""

    name: Name
    cohort: Name
    task: Name
    variant: Name
    head: Name


def kind_of(task: object) -> str:
    """The kind that a task states."""
    return str(task.get("kind", "subtyping") if isinstance(task, dict) else getattr(task, "kind", ""))


Task = Annotated[
    Annotated[ClassTask, Tag("subtyping")]
    | Annotated[ClassTask, Tag("ordinal")]
    | Annotated[SurvivalTask, Tag("survival")]
    | Annotated[RegressionTask, Tag("regression")],
    Discriminator(kind_of),
]


def task_from_json(text: str) -> TaskSettings:
    """The task from a rule's JSON param.

    Raises:
        UserError: a key is unknown, missing or out of range; the message names it.
    """
    (task,) = checked_json(list[Task], f"[{text}]", "tasks")
    return task  # type: ignore[no-any-return]


class Intervals(Section):
    """Intervals of the metrics, by resampling the tested patients, and the level of tests."""

    n_resamples: int = Field(ge=100, description="bootstrap resamples of the patients")
    level: float = Field(gt=0.5, lt=1, description="confidence level of intervals and of tests between variants")
    seed: Seed = Field(description="seed of the resamples")

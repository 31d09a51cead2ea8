"""Settings of evaluation: tasks, folds, heads, tables."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from slpd.settings.section import Fraction, Name, Section, Seed


class GeneratedFolds(Section):
    """Stratified folds with all slides of a patient on one side."""

    kind: Literal["generated"]
    n_folds: int = Field(ge=2, description="folds")
    validation_fraction: Fraction = Field(
        lt=1, description="share of each class's training patients kept for validation; 0: no validation"
    )
    seed: Seed = Field(description="seed of the shuffle")


class ImportedFolds(Section):
    """Folds read from HIPT / CLAM files `splits_<k>.csv` with columns train, val, test."""

    kind: Literal["imported"]
    folder: str = Field(description="folder of the split files")
    allow_patient_overlap: bool = Field(description="accept a patient in train and test of a fold (HIPT's folds)")


class Task(Section):
    """A slide-level classification task."""

    name: Name
    cohort: Name
    label: str = Field(description="label column of the cohort's sheet; empty cells: slide not in the task")
    classes: list[str] = Field(min_length=2, description="class names; the order gives class 0, 1, ...")
    folds: Annotated[GeneratedFolds | ImportedFolds, Field(discriminator="kind")]

    @model_validator(mode="after")
    def classes_are_distinct(self) -> Self:
        """Every class has a name of its own that a cell of the sheet can hold."""
        if any(not name or name != name.strip() for name in self.classes):
            raise ValueError("classes: a name is empty or begins or ends with a space; write it as in the sheet")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is there twice; list every class once")
        return self


class KnnHead(Section):
    """k nearest neighbours on the mean region vector of a slide."""

    kind: Literal["knn"]
    name: Name
    k: int = Field(gt=0, description="neighbours")


class AbmilHead(Section):
    """Attention-based multiple-instance learning (Ilse et al. 2018)."""

    kind: Literal["abmil"]
    name: Name
    gated: bool = Field(description="gated attention (eq. 9) instead of plain attention (eq. 8)")
    embedding: int = Field(gt=0, description="width of the instance embedding")
    attention: int = Field(gt=0, description="width of the attention network")
    dropout: Fraction = Field(lt=1, description="dropout rate")
    epochs: int = Field(gt=0, description="training epochs, of which the best on the validation slides is kept")
    learning_rate: float = Field(gt=0, description="Adam learning rate")
    weight_decay: float = Field(ge=0, description="Adam weight decay")
    seed: Seed = Field(description="seed of weights, sampling and dropout")


Head = Annotated[KnnHead | AbmilHead, Field(discriminator="kind")]


class AnyHead(Section):
    """A head of any kind."""

    head: Head


def head_from_json(text: str) -> KnnHead | AbmilHead:
    """The head from a rule's JSON param.

    Raises:
        UserError: a key is unknown, missing or out of range; the message names it.
    """
    return AnyHead.from_json(f'{{"head": {text}}}').head


Metric = Literal["auc", "accuracy", "balanced_accuracy", "f1"]


class Table(Section):
    """A table: one row per variant and head, one column per task and metric."""

    name: Name
    caption: str
    tasks: list[Name] = Field(min_length=1)
    variants: list[Name] = Field(min_length=1)
    heads: list[Name] = Field(min_length=1)
    metrics: list[Metric] = Field(min_length=1)

    @model_validator(mode="after")
    def nothing_twice(self) -> Self:
        """A row or column is there once."""
        for key in ("tasks", "variants", "heads", "metrics"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"{key}: {twice} is there twice; keep one")
        return self

"""Few-shot folds: so many training cases of each class, drawn anew in every fold and draw; nothing else changes."""

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.errors import UserError
from slpd.evaluation.few_shot import few_shot_folds
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.task_folds import make_folds
from slpd.evaluation.tasks import check_task
from slpd.settings.evaluation import ClassTask, GeneratedFolds, ImportedFolds, SurvivalTask
from slpd.tables.facts import task_facts

GENERATED = {"kind": "generated", "n_folds": 3, "validation_fraction": 0.2, "seed": 0}
SLIDES = [  # 15 patients of a class, of whom every third has two slides
    LabelledSlide(f"s{i:02d}{j}", f"p{i:02d}", "AB"[i % 2]) for i in range(30) for j in range(1 + (i % 3 == 0))
]


def task_of(level: str = "slide", **folds: object) -> ClassTask:
    settings = {"name": "grade", "cohort": "demo", "label": "class", "classes": ["A", "B"], "level": level}
    return ClassTask.model_validate(settings | {"folds": GENERATED | folds})


@pytest.mark.parametrize("level", ["slide", "patient"])
def test_every_draw_has_so_many_cases_of_each_class_from_the_training_cases_of_its_fold(level: str) -> None:
    task = task_of(level, train_per_class=4, n_draws=3)
    whole = generate_folds(["A", "B"], SLIDES, task.folds)  # type: ignore[arg-type]
    folds = make_folds(task, SLIDES)
    assert len(folds) == 9
    for number, fold in enumerate(folds):
        of = whole[number // 3]
        assert (fold.val, fold.test) == (of.val, of.test)
        assert [slide for slide in of.train if slide in fold.train] == fold.train  # in their order, each once
        cases = {(slide.patient if level == "patient" else slide.slide): slide.label for slide in fold.train}
        assert Counter(cases.values()) == {"A": 4, "B": 4}
        if level == "patient":  # with all their slides
            assert [slide for slide in of.train if slide.patient in cases] == fold.train


def trained(folds: list[Fold]) -> list[frozenset[str]]:
    return [frozenset(slide.slide for slide in fold.train) for fold in folds]


def test_draws_differ_and_depend_on_the_seed_alone() -> None:
    sets = trained(make_folds(task_of(train_per_class=4, n_draws=3), SLIDES))
    assert len(set(sets)) == 9
    assert sets == trained(make_folds(task_of(train_per_class=4, n_draws=3), SLIDES[::-1]))
    assert trained(make_folds(task_of(train_per_class=4, n_draws=2), SLIDES)) == [
        one for number, one in enumerate(sets) if number % 3 < 2
    ]  # another draw leaves the others as they were
    other = make_folds(task_of(train_per_class=4, n_draws=3, seed=1), SLIDES)
    assert not set(trained(other)) & set(sets)


def test_every_training_slide_is_drawn_equally_often() -> None:
    """A mean of 100 of 400 draws for each of 20 slides; the deviation of one is 8.7."""
    slides = [LabelledSlide(f"s{i:02d}", f"p{i:02d}", "AB"[i % 2]) for i in range(40)]
    task = task_of(train_per_class=5, n_draws=400)
    folds = few_shot_folds([Fold(slides, [], [])], task)
    counts = Counter(slide.slide for fold in folds for slide in fold.train)
    assert len(counts) == 40
    assert all(60 < count < 140 for count in counts.values())


def test_without_the_key_folds_are_as_they_were() -> None:
    assert make_folds(task_of(), SLIDES) == generate_folds(["A", "B"], SLIDES, task_of().folds)  # type: ignore[arg-type]


def test_imported_folds_are_thinned_too() -> None:
    folds = ImportedFolds(kind="imported", folder="x", allow_patient_overlap=False, train_per_class=2, n_draws=2)
    task = task_of().model_copy(update={"folds": folds})
    found = few_shot_folds([Fold(SLIDES[::-1], [], SLIDES[:1])], task)
    assert [Counter(slide.label for slide in fold.train) for fold in found] == [{"A": 2, "B": 2}] * 2
    assert found[0].train != found[1].train


def test_more_than_a_class_has_is_refused_when_the_workflow_starts() -> None:
    check_task(task_of(train_per_class=10), SLIDES)
    with pytest.raises(UserError, match="train_per_class is 20, but class A has 20 slides, of which some are tested"):
        check_task(task_of(train_per_class=20), SLIDES)
    with pytest.raises(UserError, match="train_per_class is 15, but class A has 15 patients"):
        check_task(task_of("patient", train_per_class=15), SLIDES)


def test_more_than_a_fold_has_is_refused_by_fold_and_class() -> None:
    with pytest.raises(
        UserError, match=r"train_per_class is 12, but fold \d has \d+ training slides of class [AB]; low"
    ):
        make_folds(task_of(train_per_class=12), SLIDES)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"n_draws": 2}, "n_draws is 2, but nothing is drawn; give train_per_class"),
        ({"train_per_class": 0}, "greater than 0"),
        (
            {"kind": "imported", "folder": "x", "allow_patient_overlap": False, "train_fraction": 0.25}
            | {"train_per_class": 2},
            "train_fraction stands beside train_per_class; keep one",
        ),
    ],
)
def test_draws_that_make_no_sense_are_refused(folds: dict[str, Any], message: str) -> None:
    model = ImportedFolds if folds.get("kind") == "imported" else GeneratedFolds
    with pytest.raises(ValidationError, match=message):
        model.model_validate(folds if model is ImportedFolds else GENERATED | folds)


def test_survival_has_no_classes_to_draw_from() -> None:
    settings = {"name": "os", "cohort": "demo", "kind": "survival", "time": "t", "event": "e", "n_bins": 3}
    with pytest.raises(ValidationError, match="train_per_class is of tasks with classes; remove it"):
        SurvivalTask.model_validate(settings | {"folds": GENERATED | {"train_per_class": 2}})


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ({}, "; 3 folds."),
        ({"train_per_class": 1}, "; 3 folds with 1 training slide of each class."),
        (
            {"train_per_class": 4, "n_draws": 3},
            "; 9 folds with 4 training slides of each class, 3 draws of each fold.",
        ),
    ],
)
def test_captions_say_how_few_there_are(folds: dict[str, int], words: str) -> None:
    task = task_of(**folds)
    assert task_facts(task, make_folds(task, SLIDES), [], [], {}).text.endswith(words)

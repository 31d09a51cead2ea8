"""Folds drawn from the slides of a task: stratified by class, slides of a patient, or of a site too, on one side."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.evaluation.site_folds import deal_sites
from slpd.evaluation.tasks import patients_by_stratum
from slpd.settings.evaluation import AllSlides, GeneratedFolds


def generate_folds(strata: Sequence[str], slides: Sequence[LabelledSlide], settings: GeneratedFolds) -> list[Fold]:
    """Folds in which every slide is tested exactly once.

    Every class is in every test set and in every training set, provided that it has at least as many patients
    as there are folds (`check_task`). Where sites are preserved, no site of a test slide is in training or validation,
    and a class is in as many test sets as its sites allow; training and validation may share sites. The folds do not
    depend on the order of `slides`.

    Args:
        strata: Class names; of a survival task, 0 (censored) and 1 (event seen).
        slides: The labelled slides that can be used.
        settings: Number of folds, share of validation patients, seed, what is preserved.
    """
    slides = sorted(slides, key=lambda slide: slide.slide)
    deal = deal_sites if settings.preserve else deal_patients
    test_fold = deal(strata, slides, settings)
    folds = []
    for number in range(settings.n_folds):
        others = [slide for slide in slides if test_fold[slide.patient] != number]
        validation = draw_validation(strata, others, settings, number)
        folds.append(
            Fold(
                train=[slide for slide in others if slide.patient not in validation],
                val=[slide for slide in others if slide.patient in validation],
                test=[slide for slide in slides if test_fold[slide.patient] == number],
            )
        )
    return folds


def whole_cohort(strata: Sequence[str], slides: Sequence[LabelledSlide], settings: AllSlides) -> Fold:
    """All slides to train and validate on; none to test."""
    slides = sorted(slides, key=lambda slide: slide.slide)
    validation = draw_validation(strata, slides, settings, 0)
    return Fold(
        train=[slide for slide in slides if slide.patient not in validation],
        val=[slide for slide in slides if slide.patient in validation],
    )


def deal_patients(strata: Sequence[str], slides: Sequence[LabelledSlide], settings: GeneratedFolds) -> dict[str, int]:
    """Patient -> the fold that tests this patient's slides.

    The patients of a class are shuffled and dealt one by one, those with most slides first, each to the fold
    that has fewest slides of the class so far (of equal folds: fewest slides in all, then the lowest number).
    A fold takes no more of a class than leaves two patients to train and validate on, where that is possible.
    """
    rng = np.random.default_rng(settings.seed)
    n_slides = Counter(slide.patient for slide in slides)
    in_all = [0] * settings.n_folds
    test_fold: dict[str, int] = {}
    for patients in patients_by_stratum(strata, slides).values():
        of_class, n_patients = [0] * settings.n_folds, [0] * settings.n_folds
        most = max(math.ceil(len(patients) / settings.n_folds), len(patients) - 2)
        rng.shuffle(patients)
        for patient in sorted(patients, key=lambda patient: -n_slides[patient]):
            open_folds = [number for number in range(settings.n_folds) if n_patients[number] < most]
            fold = min(open_folds, key=lambda number: (of_class[number], in_all[number]))
            n_patients[fold] += 1
            of_class[fold] += n_slides[patient]
            in_all[fold] += n_slides[patient]
            test_fold[patient] = fold
    return test_fold


def draw_validation(
    strata: Sequence[str], slides: Sequence[LabelledSlide], settings: GeneratedFolds | AllSlides, fold: int
) -> set[str]:
    """The validation patients among the slides that a fold does not test.

    Of each class the given share of patients, but at least one is drawn and at least one left for training.
    """
    if settings.validation_fraction == 0:
        return set()
    rng = np.random.default_rng((settings.seed, fold))
    validation: set[str] = set()
    for patients in patients_by_stratum(strata, slides).values():
        rng.shuffle(patients)
        n_drawn = max(1, round(settings.validation_fraction * len(patients)))
        validation.update(patients[: min(n_drawn, len(patients) - 1)])
    return validation

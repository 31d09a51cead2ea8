"""The procedural cohort: which patient has which class and slides, and how each slide is drawn."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.settings.synthetic import ProceduralCohort
from slpd.synthetic.planned_slide import PlannedSlide
from slpd.synthetic.procedural import DRAWN_MPP, draw_slide
from slpd.synthetic.seeding import named_rng
from slpd.synthetic.stain import draw_stain
from slpd.synthetic.tissue_map import draw_mix


def plan_procedural(settings: ProceduralCohort) -> list[PlannedSlide]:
    """The slides of the cohort in order of id, the files that are not slides last.

    Classes are shuffled over patient numbers, so that the order of the sheet says nothing about them.
    """
    turns = np.repeat(list(settings.classes), settings.patients_per_class)
    order = named_rng(settings.seed, "patients").permutation(turns)
    slides: list[PlannedSlide] = []
    n_patients, n_slides = dict.fromkeys(settings.classes, 0), dict.fromkeys(settings.classes, 0)
    for number, label in enumerate(order.tolist(), start=1):
        n_patients[label] += 1
        for slide in range(1, 3 if n_patients[label] <= settings.second_slides_per_class else 2):
            mpp = settings.mpps[n_slides[label] % len(settings.mpps)]
            in_file = len(slides) >= settings.slides_without_mpp
            slides.append(PlannedSlide(f"P{number:02d}-{slide}", f"P{number:02d}", label, mpp, in_file))
            n_slides[label] += 1
    return slides + plan_other_files(settings, len(order))


def plan_other_files(settings: ProceduralCohort, n_patients: int) -> list[PlannedSlide]:
    """The lines of the sheet whose file is not a slide: patients of their own, classes in turn."""
    labels = list(settings.classes)
    return [
        PlannedSlide(f"P{number:02d}-1", f"P{number:02d}", labels[turn % len(labels)], settings.mpps[0], is_slide=False)
        for turn, number in enumerate(range(n_patients + 1, n_patients + 1 + settings.files_not_slides))
    ]


def paint_procedural(settings: ProceduralCohort, planned: PlannedSlide) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a planned slide at its resolution.

    Slides of a patient share the mix of phenotypes, and differ in its arrangement and in stain.
    """
    own = settings.classes[planned.label]
    patient_rng = named_rng(settings.seed, "mix", planned.patient)
    mix = draw_mix(own.glands, own.infiltration, settings.spread, patient_rng)
    rng = named_rng(settings.seed, "slide", planned.slide)
    size_px = (round(settings.height_um / DRAWN_MPP), round(settings.width_um / DRAWN_MPP))
    rgb = draw_slide(size_px, settings.tissue_fraction, mix, draw_stain(settings.stain_spread, rng), rng)
    return enlarged(rgb, DRAWN_MPP / planned.mpp)


def enlarged(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """`rgb` (H, W, 3) at `factor` times its size, bicubic."""
    if factor == 1:
        return rgb
    size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))

"""The procedural cohort: which patient has which class and slides, and how each slide is drawn."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.slides.known_kinds import Square
from slpd.settings.synthetic import Kind, ProceduralCohort
from slpd.synthetic.flaws import add_flaw
from slpd.synthetic.grain import N_WAVES, Grain, grain_of_kinds
from slpd.synthetic.phenotypes import NAMES, varied
from slpd.synthetic.planned_slide import PlannedSlide
from slpd.synthetic.procedural import DRAWN_MPP, DrawnTissue, draw_slide
from slpd.synthetic.seeding import named_rng
from slpd.synthetic.stain import draw_stain, scanned

SQUARE_PX = 42  # side of the squares that kinds are told by, at `DRAWN_MPP`
Type = tuple[
    str, tuple[Kind, ...], str
]  # class; the pair of kinds, the more frequent first, and the common one; scanner


def plan_procedural(settings: ProceduralCohort) -> list[PlannedSlide]:
    """The slides of the cohort in order of id, the files that are not slides last.

    Types are shuffled over patient numbers, so that the order of the sheet says nothing about them.
    """
    types, second = patient_types(settings)
    order = named_rng(settings.seed, "patients").permutation(len(types)).tolist()
    slides: list[PlannedSlide] = []
    for number, place in enumerate(order, start=1):
        label, kinds, scanner = types[place]
        for slide in (1, 2)[: 1 + second[place]]:
            n = len(slides)
            slides.append(
                PlannedSlide(
                    slide=f"P{number:03d}-{slide}",
                    patient=f"P{number:03d}",
                    label=label,
                    mpp=settings.mpps[n % len(settings.mpps)],
                    mpp_in_file=n >= settings.slides_without_mpp,
                    kinds=kinds,
                    scanner=scanner,
                    flaw=settings.flaws[n] if n < len(settings.flaws) else None,
                )
            )
    return slides + plan_other_files(settings, len(order))


def patient_types(settings: ProceduralCohort) -> tuple[list[Type], list[bool]]:
    """The type of every patient, and whether it has a second slide; within a class all types in turn."""
    types: list[Type] = []
    second: list[bool] = []
    for label, pairs in settings.classes.items():
        turns = [
            (label, (*pair, common), scanner)
            for common, pair, scanner in product(settings.common, pairs, settings.scanners)
        ]
        for number in range(settings.patients_per_class):
            types.append(turns[number % len(turns)])
            second.append(number < settings.second_slides_per_class)
    return types, second


def plan_other_files(settings: ProceduralCohort, n_patients: int) -> list[PlannedSlide]:
    """The lines of the sheet whose file is not a slide: patients of their own, classes in turn."""
    labels = list(settings.classes)
    return [
        PlannedSlide(
            slide=f"P{number:03d}-1",
            patient=f"P{number:03d}",
            label=labels[turn % len(labels)],
            mpp=settings.mpps[0],
            scanner=settings.scanners[turn % len(settings.scanners)],
            is_slide=False,
        )
        for turn, number in enumerate(range(n_patients + 1, n_patients + 1 + settings.files_not_slides))
    ]


def paint_procedural(settings: ProceduralCohort, planned: PlannedSlide) -> tuple[NDArray[np.uint8], list[Square]]:
    """(H, W, 3) RGB of a planned slide at its resolution, and the kinds drawn.

    Slides of a patient share their kinds, what these look like and their shares, and differ in arrangement and stain.
    """
    patient_rng = named_rng(settings.seed, "tissue", planned.patient)
    shares = dict(zip(planned.kinds, draw_shares(settings, patient_rng), strict=True))
    looks = varied(settings.look_spread, patient_rng)
    rng = named_rng(settings.seed, "slide", planned.slide)
    tissue = DrawnTissue(
        settings.tissue_fraction,
        looks,
        shares,
        settings.territory_um,
        settings.parcel_um,
        settings.uneven_spread,
        settings.uneven_um,
        grain_of_slide(settings, patient_rng, rng),
    )
    size_px = (round(settings.height_um / DRAWN_MPP), round(settings.width_um / DRAWN_MPP))
    scanner_rng = named_rng(settings.seed, "scanner", planned.scanner)
    stain = scanned(draw_stain(settings.stain_spread, rng), settings.scanner_spread, scanner_rng)
    rgb, kinds = draw_slide(size_px, tissue, stain, rng)
    if planned.flaw:
        rgb = add_flaw(rgb, planned.flaw, rng)
    return enlarged(rgb, DRAWN_MPP / planned.mpp), squares_of(kinds, planned.mpp)


def grain_of_slide(settings: ProceduralCohort, patient: np.random.Generator, slide: np.random.Generator) -> Grain:
    """The grain of a slide: what a kind has in all cohorts, what it has in this patient, and what the slide has."""
    in_all = grain_of_kinds(len(NAMES), settings.grain_of_kinds)
    in_patient = patient.normal(0, settings.grain_of_patients, in_all.shape)
    in_slide = slide.normal(0, settings.grain_of_slides, N_WAVES)
    return Grain(settings.grain, in_all + in_patient + in_slide, settings.grain_of_parcels)


def squares_of(kinds: NDArray[np.uint8], mpp: float) -> list[Square]:
    """The main kind of every square of a map of kinds (H, W) at `DRAWN_MPP` that is mostly tissue; `mpp` of level 0."""
    rows, columns = kinds.shape[0] // SQUARE_PX, kinds.shape[1] // SQUARE_PX
    grid = kinds[: rows * SQUARE_PX, : columns * SQUARE_PX].reshape(rows, SQUARE_PX, columns, SQUARE_PX)
    shares = np.stack([(grid == number).mean(axis=(1, 3)) for number in range(len(NAMES))])  # (kinds, rows, columns)
    side = round(SQUARE_PX * DRAWN_MPP / mpp)
    return [
        Square(int(column) * side, int(row) * side, side, NAMES[shares[:, row, column].argmax()])
        for row, column in np.argwhere(shares.sum(axis=0) > 0.5)
    ]


def draw_shares(settings: ProceduralCohort, rng: np.random.Generator) -> tuple[float, float, float]:
    """Shares of the tissue in a patient: the pair's, the more frequent first on average, and the common kind's."""
    common = float(np.clip(rng.normal(settings.common_share, settings.spread), 0.05, 0.9))
    first = float(np.clip(rng.normal(0.5 + settings.tilt, settings.spread), 0.05, 0.95))
    return (1 - common) * first, (1 - common) * (1 - first), common


def enlarged(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """`rgb` (H, W, 3) at `factor` times its size, bicubic."""
    if factor == 1:
        return rgb
    size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))

"""What maps need to know of the slides of a cohort, whatever the variant: columns to colour by, regions, pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.slides.slide_record import SlideRecord

MAX_VALUES = 8  # told apart by colour; a column of numbers with more is a scale


@dataclass(frozen=True)
class SlideView:
    """One slide used. Sizes in its record are None in cohorts of imported tokens."""

    record: SlideRecord
    number: int  # of its pictures and data in the report
    values: Mapping[str, str]  # column of the sheet, or derived from it -> value; empty: not given
    n_pictures: int  # regions on its sheet of pictures; 0: it has no sheet

    @property
    def slide(self) -> str:
        """Its id."""
        return self.record.slide


@dataclass(frozen=True)
class CohortView:
    """The slides used and their R regions, both in order of slide id."""

    cohort: str
    slides: Sequence[SlideView]
    offsets: NDArray[np.int64]  # (S + 1,)
    coords: NDArray[np.int64]  # (R, 2) upper left corners, level-0 pixels; -1 unknown
    places: NDArray[np.int32]  # (R,) place on the slide's sheet of pictures; -1: none
    picture_px: int  # side of a region on it, pixels
    classes: Sequence[str] = ()  # columns that tasks predict
    kinds: Sequence[str] = ()  # (R,) known kinds of the regions, empty where not known; none: of no region


def places_on_sheet(coords: NDArray[np.int64], corners: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    """Which picture of a slide's sheet shows each region.

    Args:
        coords: (n, 2) upper left corners of the regions, level-0 pixels.
        corners: The same of the regions on the sheet, in its order.

    Returns:
        (n,) places; -1 where the sheet has no such region.
    """
    place = {corner: number for number, corner in enumerate(corners)}
    return np.array([place.get((int(x), int(y)), -1) for x, y in coords], np.int32)


def column_names(view: CohortView) -> list[str]:
    """The columns to colour by, those with two different values or more: what tasks predict first, patient last."""
    names = dict.fromkeys([*view.classes, *(name for slide in view.slides for name in slide.values)])
    several = [name for name in names if len({slide.values.get(name, "") for slide in view.slides} - {""}) > 1]
    return sorted(several, key=lambda name: name == "patient")


def column(name: str, values: Sequence[str]) -> dict[str, Any]:
    """A column as pages read it: categories, the most frequent first, with the category of each slide (-1: not given).

    A column of numbers with more than MAX_VALUES different ones is a scale: `numbers`, None where not given.
    """
    given = Counter(value for value in values if value)
    numbers = {value: number for value in given if (number := as_number(value)) is not None}
    if len(given) > MAX_VALUES and len(numbers) == len(given):
        return {"name": name, "numbers": [numbers.get(value) for value in values]}
    categories = sorted(given, key=lambda value: (-given[value], value))
    code = {value: number for number, value in enumerate(categories)}
    return {"name": name, "categories": categories, "codes": [code.get(value, -1) for value in values]}


def as_number(text: str) -> float | None:
    """A finite number, or None for text that is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def cohort_data(view: CohortView) -> dict[str, Any]:
    """What every page of maps holds of its cohort."""
    names = column_names(view)
    return {
        "cohort": view.cohort,
        "slides": [slide.slide for slide in view.slides],
        "numbers": [slide.number for slide in view.slides],
        "regions": np.diff(view.offsets),
        "columns": [column(name, [slide.values.get(name, "") for slide in view.slides]) for name in names],
        "picturePx": view.picture_px,
    }


def region_data(view: CohortView, slide: int) -> dict[str, Any]:
    """The places of a slide's regions: on the slide and on its sheet of pictures."""
    about, of_slide = view.slides[slide], slice(view.offsets[slide], view.offsets[slide + 1])
    return {
        "width": about.record.width_lv0,
        "height": about.record.height_lv0,
        "mpp": about.record.slide_mpp,
        "side": about.record.region_lv0,
        "nPictures": about.n_pictures,
        "x": view.coords[of_slide, 0],
        "y": view.coords[of_slide, 1],
        "place": view.places[of_slide],
    }

"""Attention pages: regions that a head weighs, what the region encoder looks at in them, best and worst predictions."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.region_weights import SlideWeights
from slpd.report.cohort_view import CohortView, cohort_data
from slpd.report.site import Rows

TOP_REGIONS = 6  # per slide, fold and head, with the attention of their patches


# What a page calls the best and the worst cases, their truth, what is predicted, and the score; empty: it is not shown.
WORDS = {
    "survival": ("Highest predicted risk", "Lowest predicted risk", "time and event", "predicted risk", ""),
    "regression": ("Smallest errors", "Largest errors", "true value", "predicted", ""),
}
CLASS_WORDS = ("Best classified", "Worst classified", "true class", "predicted", "probability of the true class")


def words_of(kind: str) -> dict[str, str]:
    """The words of a kind of task."""
    names = ("best", "worst", "label", "predicted", "score")
    return dict(zip(names, WORDS.get(kind, CLASS_WORDS), strict=True))


@dataclass(frozen=True)
class PredictedCase:
    """A test case of a fold, a slide or a patient, as a head predicts it."""

    fold: int
    slides: Sequence[str]
    patient: str
    label: str  # a class, the time, or the value
    event: str  # of a survival task: 1 seen, 0 censored
    predicted: str  # a class, the risk, or the value
    score: float  # probability of the true class, 0-1; the risk; less the error of the value


def attention_data(
    view: CohortView, names: tuple[str, str, str], kind: str, cases: Sequence[PredictedCase], n_shown: int
) -> dict[str, Any]:
    """What an attention page holds.

    Args:
        view: The cohort of the task.
        names: Task, variant, head.
        kind: Kind of the task: its cases are ranked by the probability of their true class, by risk, or by error.
        cases: All test cases of all folds.
        n_shown: Cases shown from either end.
    """
    index = {slide.slide: number for number, slide in enumerate(view.slides)}
    ranked = ranking(cases)
    return {
        **cohort_data(view),
        "task": names[0],
        "variant": names[1],
        "head": names[2],
        "words": words_of(kind),
        "cases": [
            {
                "fold": case.fold,
                "slides": [index[slide] for slide in case.slides],
                "label": case.label if kind != "survival" else f"{case.label} ({seen(case.event)})",
                "predicted": case.predicted if words_of(kind)["score"] else f"{float(case.predicted):.3f}",
                "score": round(case.score, 4),
            }
            for case in cases
        ],
        "best": ranked[:n_shown],
        "worst": ranked[::-1][:n_shown],
    }


def seen(event: str) -> str:
    """Whether the event of a survival case was seen."""
    return "event" if event == "1" else "censored"


def ranking(cases: Sequence[PredictedCase]) -> list[int]:
    """The cases from the highest score down; ties in order of fold and slide."""
    return sorted(range(len(cases)), key=lambda n: (-cases[n].score, cases[n].fold, list(cases[n].slides)))


def weights_of_slides(entries: Sequence[SlideWeights]) -> dict[str, dict[int, NDArray[np.float32]]]:
    """Slide -> fold -> weight of each region."""
    weights: dict[str, dict[int, NDArray[np.float32]]] = {}
    for entry in entries:
        weights.setdefault(entry.slide, {})[entry.fold] = entry.weights
    return weights


def slide_weights(folds: Mapping[int, NDArray[np.float32]]) -> dict[str, Any]:
    """A slide's weights per fold, as its data file has them: the regions in sum 1 per case."""
    return {str(fold): [float(f"{weight:.4g}") for weight in weights] for fold, weights in folds.items()}


def top_regions(weights: NDArray[np.float32], n_top: int = TOP_REGIONS) -> list[int]:
    """The regions of largest weight, largest first; ties in order of region."""
    return [int(region) for region in np.argsort(-weights, kind="stable")[:n_top]]


def patch_maps(regions: Sequence[int], attention: NDArray[np.float16]) -> dict[str, Any]:
    """The attention over the patches of some regions of a slide, a byte each between the extremes of region and head.

    Args:
        regions: Numbers of the regions within the slide, in ascending order.
        attention: (n, heads, P) of these regions; nan where a patch is absent.

    Returns:
        Heads, side of the grid, and per region the smallest and the largest value of each head, the bytes of all heads
        in base64, 0 the smallest, 255 the largest, patches row by row, and the patches that are absent.
    """
    _, heads, n_patches = attention.shape
    values = attention.astype(np.float32)
    absent = [np.flatnonzero(np.isnan(piece[0])).tolist() for piece in values]
    low, high = np.nanmin(values, 2), np.nanmax(values, 2)  # (n, heads)
    spread = np.maximum(high - low, np.finfo(np.float32).tiny)
    levels = np.nan_to_num(np.rint((values - low[:, :, None]) / spread[:, :, None] * 255)).astype(np.uint8)
    extremes = [values.astype(np.float64).round(6).tolist() for values in (low, high)]  # over 256 patches six digits
    maps = {
        str(region): {"low": least, "high": most, "bytes": b64encode(piece.tobytes()).decode(), "absent": none}
        for region, least, most, piece, none in zip(regions, *extremes, levels, absent, strict=True)
    }
    return {"heads": heads, "grid": round(n_patches**0.5), "regions": maps}


def case_rows(cases: Sequence[PredictedCase], folds: Mapping[str, Mapping[int, NDArray[np.float32]]]) -> Rows:
    """A table of all cases, from the best prediction down, and the weight of each region of their slides."""
    yield ["rank", "fold", "slide", "patient", "label", "event", "predicted", "score", "region", "weight"]
    for rank, number in enumerate(ranking(cases)):
        case = cases[number]
        known = [case.patient, case.label, case.event, case.predicted, round(case.score, 4)]
        for slide in case.slides:
            for region, weight in enumerate(folds[slide][case.fold]):
                yield [rank + 1, case.fold, slide, *known, region, float(f"{weight:.4g}")]

"""Predict slides by the trained heads of a task: figures, and the part of every region. Research use only."""

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.atomic import atomic_folder
from slpd.artifacts.evaluation.absent_slides import AbsentSlide, write_absent
from slpd.artifacts.evaluation.slide_predictions import USE, write_slide_predictions, write_weights_geojson
from slpd.artifacts.evaluation.trained_heads import HeadCard, read_trained_heads, refuse_other_encoder
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.patch_tokens.cohort_tokens import read_cohort_coords
from slpd.artifacts.patch_tokens.token_kind import read_token_kind
from slpd.artifacts.slides.manifest import ManifestRow, read_manifest
from slpd.artifacts.slides.picture import read_picture, write_picture
from slpd.artifacts.slides.sheet import read_sheet
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.evaluation.cases import Cases
from slpd.evaluation.ensemble import Ensemble, ensemble_of, unlabelled_cases
from slpd.evaluation.prediction import apply_head
from slpd.layout import THUMBNAIL
from slpd.plots.weight_picture import draw_weights, weight_colours

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--heads", type=Path, required=True, help="trained heads of the task (.safetensors)")
    parser.add_argument("--bags", type=Path, required=True, help="bags of the slides (HDF5)")
    parser.add_argument(
        "--encoder", type=Path, nargs="?", help="the region encoder that made them; none: there is none"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the slides (CSV)")
    parser.add_argument("--sheet", type=Path, required=True, help="their sheet, for their patients (CSV)")
    parser.add_argument("--tissue", type=Path, required=True, help="folder of their thumbnails; may lack them")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Check that the heads fit the slides, apply those of every fold, write."""
    folds, card = read_trained_heads(args.heads)
    refuse_other_encoder(args.heads, card, args.encoder)
    manifest = read_manifest(args.manifest)
    used = {row.record.slide: row for row in manifest if row.used}
    for row in used.values():
        refuse_other_tokens(args.heads, card, row)
    bags, coords = read_bags(args.bags), read_cohort_coords(args.manifest)
    data, cases = unlabelled_cases(bags, {row.slide: row.patient for row in read_sheet(args.sheet)}, card.task)
    ensemble = ensemble_of(card.task, [apply_head(card.head, card.preset, fold, data, cases) for fold in folds])
    with atomic_folder(args.out) as folder:
        write_slide_predictions(folder / "predictions.csv", ensemble.names, lines(cases, ensemble), card.n_folds)
        left_out = [AbsentSlide(row.record.slide, row.record.reason) for row in manifest if not row.used]
        write_absent(folder / "left_out.csv", left_out)
        for number, (case, sizes) in enumerate(zip(cases.slides, cases.sizes, strict=True)):
            log.info("%s: %s", " ".join(slide.slide for slide in case), summary(card, ensemble, number))
            of_slides = [
                np.split(w[number], np.cumsum(sizes)[:-1]) for w in (ensemble.weights, ensemble.weight_deviations)
            ]
            for slide, weights, deviations in zip(case, *of_slides, strict=True):
                record = used[slide.slide].record
                thumbnail = args.tissue / THUMBNAIL.format(slide=slide.slide)
                show(folder, record, thumbnail, coords[slide.slide], (weights, deviations), (card, ensemble, number))


def refuse_other_tokens(heads: Path, card: HeadCard, row: ManifestRow) -> None:
    """Refuse a slide whose tokens are of another kind than the heads' encoder has read."""
    assert row.tokens, "used slides have a token file"
    if differences := card.tokens.differences(read_token_kind(row.tokens)):
        raise UserError(
            f"slide {row.record.slide}: its tokens in {row.tokens} do not fit {heads}: {'; '.join(differences)}; encode"
            " the slide as the heads' cohort was, or take heads of its kind"
        )


def lines(cases: Cases, ensemble: Ensemble) -> list[list[object]]:
    """Lines of predictions.csv."""
    return [
        [" ".join(slide.slide for slide in case), case[0].patient, predicted, *np.stack(pair, axis=1).ravel().tolist()]
        for case, predicted, *pair in zip(
            cases.slides, ensemble.predicted, ensemble.means, ensemble.deviations, strict=True
        )
    ]


def summary(card: HeadCard, ensemble: Ensemble, number: int) -> str:
    """What is said of a case, in one line."""
    figures = zip(ensemble.names, ensemble.means[number], ensemble.deviations[number], strict=True)
    texts = [
        f"{name.removeprefix('prob_')} {mean:.3f}" + ("" if np.isnan(deviation) else f" ± {deviation:.3f}")
        for name, mean, deviation in figures
    ]
    folds = "one fold" if card.n_folds == 1 else f"mean ± sd of {card.n_folds} folds"
    return (
        f"{card.task.name}: {', '.join(texts)} ({folds}; {card.head.name}, {card.recipe.variant}). {USE.capitalize()}."
    )


def show(
    folder: Path,
    record: SlideRecord,
    thumbnail: Path,
    coords: NDArray[np.int64],
    weights: tuple[NDArray[np.float64], NDArray[np.float64]],
    said: tuple[HeadCard, Ensemble, int],
) -> None:
    """Write GeoJSON and picture of a slide's regions; of tokens that do not say where these lie, neither."""
    side = record.region_lv0
    if side is None or (coords < 0).any():
        log.warning("slide %s: its tokens do not say where regions lie; no picture and no GeoJSON", record.slide)
        return
    card, ensemble, number = said
    figures = dict(zip(ensemble.names, ensemble.means[number].tolist(), strict=True))
    measurements = {"weight": weights[0], "sd of weight": weights[1]}
    write_weights_geojson(
        folder / f"{record.slide}.geojson",
        *(coords, side, measurements, weight_colours(weights[0])),
        {"task": card.task.name, "predicted": ensemble.predicted[number], **figures},
    )
    width, height = (coords.max(axis=0) + side).tolist()
    size = (record.width_lv0 or width, record.height_lv0 or height)
    below = read_picture(thumbnail) if thumbnail.exists() else None
    caption = f"{record.slide}, {summary(card, ensemble, number)}"
    write_picture(folder / f"{record.slide}.jpg", draw_weights(below, size, coords, side, weights[0], caption))

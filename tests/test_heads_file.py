"""Trained heads are kept: read back and applied to a fold's test cases, they say what the evaluation said."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pytest
from small_cases import (
    Bags,
    abmil,
    class_cohort,
    class_task,
    head_card_arguments,
    max_mil,
    preset,
    regression_cohort,
    regression_task,
    survival_cohort,
    survival_task,
    vit_wsi,
)

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide, write_folds
from slpd.artifacts.evaluation.predictions import read_predictions
from slpd.artifacts.evaluation.region_weights import read_region_weights
from slpd.artifacts.evaluation.trained_heads import read_trained_heads
from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.patch_tokens.token_kind import TokenKind
from slpd.errors import UserError
from slpd.evaluation.cases import evaluation_data
from slpd.evaluation.prediction import apply_head
from slpd.settings.evaluation import Intervals, TaskSettings
from slpd.settings.heads import AnyHead, KnnHead, LogisticHead, TrainedHead
from slpd.stages import evaluate

pytestmark = pytest.mark.torch

LOGISTIC = LogisticHead(kind="logistic", name="probe", inverse_penalty=1, balanced=True)
KNN = KnnHead(kind="knn", name="knn", k=1)
HEADS: list[tuple[AnyHead, TaskSettings]] = [
    (abmil(), class_task(3)),
    (max_mil(), survival_task()),
    (abmil(), survival_task(loss="cox")),
    (vit_wsi(), class_task(3)),
    (abmil(), regression_task()),
    (LOGISTIC, class_task(3)),
    (LOGISTIC, survival_task()),
    (LOGISTIC, regression_task()),
]


def run_stage(folder: Path, bags: Bags, folds: list[Fold], task: TaskSettings, head: AnyHead) -> None:
    """Run the command; its files lie in `folder`."""
    write_bags(folder / "bags.h5", bags, {slide: np.zeros((len(bag), 2), np.int64) for slide, bag in bags.items()})
    write_folds(folder / "folds.csv", folds)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    given = {"bags": folder / "bags.h5", "folds": folder / "folds.csv", "variant": "dino"}
    given |= {
        name: folder / name for name in ("predictions", "metrics", "intervals", "calibration", "weights", "heads")
    }
    given |= {"resamples": folder / "resamples.npz", "task": task.model_dump_json(), "head": head.model_dump_json()}
    given |= {"settings": Intervals(n_resamples=100, level=0.9, seed=0).model_dump_json()}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    recipe = [preset(epochs=3).model_dump_json()] if isinstance(head, TrainedHead) else []
    evaluate.run(parser.parse_args([*words, "--preset", *recipe, *head_card_arguments(folder)]))


def folds_of(slides: list[LabelledSlide]) -> list[Fold]:
    """Two, each tested by a third."""
    n = len(slides) // 3
    return [Fold(slides[n:], [], slides[:n]), Fold(slides[:-n], [], slides[-n:])]


@pytest.mark.parametrize(("head", "task"), HEADS)
def test_kept_heads_say_what_the_evaluation_said(tmp_path: Path, head: AnyHead, task: TaskSettings) -> None:
    """To the digits in which one thread and several agree."""
    cohorts = {"survival": lambda: survival_cohort(60, 0), "regression": lambda: regression_cohort(30, 0)}
    slides, bags = cohorts.get(task.kind, lambda: class_cohort(18, 0, n_classes=3))()
    run_stage(tmp_path, bags, folds_of(slides), task, head)
    folds, card = read_trained_heads(tmp_path / "heads")
    data = evaluation_data(bags, folds_of(slides), task)
    lines, weights = read_predictions(tmp_path / "predictions"), read_region_weights(tmp_path / "weights")
    outputs = [
        apply_head(card.head, card.preset, parameters, data, fold.test)
        for parameters, fold in zip(folds, data.folds, strict=True)
    ]
    said = np.concatenate([output.outputs for output in outputs])
    assert np.allclose(said, [line.outputs for line in lines], atol=1e-6)
    pieces = [piece for output in outputs for piece in output.weights]
    assert all(np.allclose(a, b.weights, atol=1e-6) for a, b in zip(pieces, weights, strict=True))
    assert (said[0] != said[len(said) // 2]).any()


def test_the_card_says_what_the_heads_are_and_read_and_bytes_repeat(tmp_path: Path) -> None:
    slides, bags = class_cohort(12, 0)
    run_stage(tmp_path, bags, folds_of(slides), class_task(), abmil())
    _, card = read_trained_heads(tmp_path / "heads")
    assert (card.task, card.head, card.preset) == (class_task(), abmil(), preset(epochs=3))
    assert (card.n_folds, card.use) == (2, "research use only")
    assert card.encoder_sha256 == hashlib.sha256(b"weights").hexdigest()
    tokens = card.tokens
    assert (tokens.encoder_sha256, tokens.region_px, tokens.requested_mpp) == ("0" * 64, 32, 0.5)
    assert (tokens.grid, tokens.token_width) == (2, 3)
    assert card.recipe.variant == "dino" and card.recipe.source == "training"
    first = (tmp_path / "heads").read_bytes()
    assert (tmp_path / "heads").stat().st_mode == (tmp_path / "metrics").stat().st_mode  # others may read them, too
    run_stage(tmp_path, bags, folds_of(slides), class_task(), abmil())
    assert (tmp_path / "heads").read_bytes() == first


def test_heads_that_keep_nothing_and_files_of_others_are_refused(tmp_path: Path) -> None:
    slides, bags = class_cohort(12, 0)
    run_stage(tmp_path, bags, folds_of(slides), class_task(), KNN)
    with pytest.raises(UserError, match="head knn of kind knn has kept nothing to predict with"):
        read_trained_heads(tmp_path / "heads")
    (tmp_path / "heads").write_bytes(b"no heads")
    with pytest.raises(UserError, match=r"heads .*: cannot be read .*; run evaluate again"):
        read_trained_heads(tmp_path / "heads")


STATED = TokenKind(
    encoder="vit", encoder_sha256="1" * 64, patch_px=16, region_px=32, requested_mpp=0.5, grid=2, token_width=3
)


def test_kinds_of_tokens_differ_in_what_both_state_and_in_the_encoders_hash() -> None:
    unknown = STATED.model_copy(update={"encoder": None, "patch_px": None, "requested_mpp": None})
    assert STATED.differences(unknown) == unknown.differences(STATED) == []
    other = STATED.model_copy(update={"requested_mpp": 0.25, "token_width": 4})
    assert STATED.differences(other) == ["requested_mpp is 0.25, expected 0.5", "token_width is 4, expected 3"]
    nobody_knows = STATED.model_copy(update={"encoder_sha256": None})
    assert STATED.differences(nobody_knows) == [f"encoder_sha256 is not stated, expected {'1' * 64}"]
    assert nobody_knows.differences(STATED) == [f"encoder_sha256 is {'1' * 64}, expected not stated"]
    assert nobody_knows.differences(nobody_knows) == []

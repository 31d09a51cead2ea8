"""Small tasks for tests of heads: slides with bags, in folds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.evaluation.cases import EvaluationData, evaluation_data
from slpd.settings.evaluation import ClassTask, GeneratedFolds, Level, RegressionTask, SurvivalTask
from slpd.settings.heads import AbmilHead, HeadPreset, MaxMilHead, SimlpHead, VitWsiHead
from slpd.settings.load import load_experiment
from slpd.settings.recipe import VectorRecipe

FOLDS = GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0.2, seed=0)
Bags = dict[str, NDArray[np.float32]]


def class_task(n_classes: int = 2, level: Level = "slide", ordinal: bool = False) -> ClassTask:
    return ClassTask(
        name="grade",
        cohort="demo",
        kind="ordinal" if ordinal else "subtyping",
        level=level,
        label="class",
        classes=[f"c{number}" for number in range(n_classes)],
        folds=FOLDS,
    )


def survival_task(n_bins: int = 3, loss: Literal["discrete", "cox"] = "discrete") -> SurvivalTask:
    columns = {"time": "months", "event": "dead"}
    return SurvivalTask(name="os", cohort="demo", kind="survival", **columns, n_bins=n_bins, loss=loss, folds=FOLDS)


def regression_task() -> RegressionTask:
    return RegressionTask(name="age", cohort="demo", kind="regression", label="age", folds=FOLDS)


def regression_cohort(n: int, seed: int) -> tuple[list[LabelledSlide], Bags]:
    """N slides whose value all their regions carry, but for noise."""
    rng = np.random.default_rng(seed)
    slides, bags = [], {}
    for i in range(n):
        value = rng.normal()
        slides.append(LabelledSlide(f"s{seed}_{i}", f"p{seed}_{i}", f"{60 + 12 * value:.1f}"))
        bag = rng.normal(size=(rng.integers(3, 9), 5))
        bag[:, 2] = value + 0.3 * bag[:, 2]
        bags[slides[-1].slide] = bag.astype(np.float32)
    return slides, bags


def class_cohort(n: int, seed: int, n_classes: int = 2, shift: float = 6.0) -> tuple[list[LabelledSlide], Bags]:
    """N slides in bags of noise of several sizes; in a bag of class c > 0 one region stands out along axis c."""
    rng = np.random.default_rng(seed)
    slides = [LabelledSlide(f"s{seed}_{i}", f"p{seed}_{i}", f"c{i % n_classes}") for i in range(n)]
    bags: Bags = {}
    for slide in slides:
        number = int(slide.label[1:])
        bag = rng.normal(size=(rng.integers(3, 9), 5))
        bag[0, number] += shift * (number > 0)
        bags[slide.slide] = bag.astype(np.float32)
    return slides, bags


def survival_cohort(n: int, seed: int, effect: float = 2.0) -> tuple[list[LabelledSlide], Bags]:
    """N slides whose hazard grows with a value that all their regions carry; three in ten are censored."""
    rng = np.random.default_rng(seed)
    slides, bags = [], {}
    for i in range(n):
        value = rng.normal()
        time, follow_up = rng.exponential(10 * np.exp(-effect * value)), rng.exponential(20)
        slides.append(
            LabelledSlide(f"s{seed}_{i}", f"p{seed}_{i}", f"{min(time, follow_up):.6f}", str(int(time <= follow_up)))
        )
        bag = rng.normal(size=(rng.integers(3, 9), 5))
        bag[:, 2] = value + 0.3 * bag[:, 2]
        bags[slides[-1].slide] = bag.astype(np.float32)
    return slides, bags


def data_of(
    sizes: Sequence[tuple[int, int, int]], n_classes: int = 2, seed: int = 0, shift: float = 6.0
) -> EvaluationData:
    """A task of independent folds, each with so many slides to train, validate and test on."""
    folds, bags = [], {}
    for number, counts in enumerate(sizes):
        splits = []
        for split, n in enumerate(counts):
            slides, found = class_cohort(n, 100 * seed + 10 * number + split, n_classes, shift)
            splits.append(slides)
            bags |= found
        folds.append(Fold(*splits))
    return evaluation_data(bags, folds, class_task(n_classes))


def survival_data(n: int = 200, effect: float = 2.0, loss: Literal["discrete", "cox"] = "discrete") -> EvaluationData:
    """A survival task of one fold."""
    (train, bags), (val, more), (test, most) = (
        survival_cohort(size, seed, effect) for seed, size in enumerate((n, 40, 80))
    )
    return evaluation_data(bags | more | most, [Fold(train, val, test)], survival_task(loss=loss))


def preset(**changes: object) -> HeadPreset:
    settings = {
        "optimiser": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 1e-4,
        "epochs": 12,
        "patience": None,
        "batch_size": 4,
        "balanced": True,
        "standardise": True,
        "loss_divisor": 1,
        "seed": 0,
    }
    return HeadPreset.model_validate(settings | changes)


def abmil(**changes: object) -> AbmilHead:
    settings = {"kind": "abmil", "name": "abmil", "preset": "p", "gated": True, "embedding": 16, "attention": 8}
    return AbmilHead.model_validate(settings | {"dropout": 0.25} | changes)


def max_mil(**changes: object) -> MaxMilHead:
    settings = {"kind": "max_mil", "name": "max", "preset": "p", "embedding": 16, "dropout": 0.25}
    return MaxMilHead.model_validate(settings | changes)


def simlp(**changes: object) -> SimlpHead:
    settings = {"kind": "simlp", "name": "simlp", "preset": "p", "embedding": 16, "dropout": 0.25}
    return SimlpHead.model_validate(settings | changes)


def vit_wsi(**changes: object) -> VitWsiHead:
    settings = {"kind": "vit_wsi", "name": "vit", "preset": "p", "embedding": 12, "depth": 2, "heads": 3}
    return VitWsiHead.model_validate(settings | {"feedforward": 20, "attention": 8, "dropout": 0.25} | changes)


def head_card_arguments(folder: Path) -> list[str]:
    """What `evaluate` asks for the card of its heads: a cohort of one slide with tokens, an encoder, a recipe."""
    source = TokenSource("s0", "f", "vit", "0" * 64, patch_px=16, region_px=32, requested_mpp=0.5)
    write_tokens(folder / "s0.h5", [np.ones((4, 3), np.float16)], np.zeros((1, 2), np.int64), source)
    record = SlideRecord(slide="s0", path="s0.tiff", n_regions=1)
    write_manifest(folder / "slides.csv", [ManifestRow(record, folder / "s0.h5")])
    (folder / "teacher").write_bytes(b"weights")
    experiment = load_experiment(yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text()))
    recipe = VectorRecipe.of(experiment, experiment.cohorts[0], experiment.variants[0]).model_dump_json()
    return ["--manifests", f"{folder}/slides.csv", "--encoder", f"{folder}/teacher", "--recipe", recipe]

"""Are heads trained right, and fast? ABMIL on the classical sets, and the ten folds of a task against a plain loop.

Speed: a cohort of 1,000 slides x 60 regions x 192 values, ten folds. The baseline, in the same run: a loop as one
writes it, fold after fold and bag after bag, of torch's own layers, with the same recipe and the same bags per step.
"""

import argparse
import json
import math
import os
import resource
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.mil_sets import accuracies, mil_set
from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.cases import Cases, EvaluationData, FoldCases, evaluation_data
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.train_heads import predict_trained
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.heads import AbmilHead, HeadPreset
from slpd.settings.load import load_experiment

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
PUBLISHED = {  # Ilse et al. 2018, Table 1: attention and gated attention, ten folds, five repetitions
    "musk1": {"attention": "0.892 +- 0.040", "gated": "0.900 +- 0.050", "wanted": 0.86},
    "elephant": {"attention": "0.868 +- 0.022", "gated": "0.857 +- 0.027", "wanted": 0.83},
}
SLIDES, REGIONS, WIDTH, FOLDS = 1000, 60, 192, 10


def main() -> None:
    """Run what is asked, print it, and all of it as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mil", type=Path, help="folder of musk1.csv and elephant.csv; absent: only speed")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of the ten folds of a set")
    parser.add_argument(
        "--slides", type=int, default=SLIDES, help="slides of the cohort whose folds are timed; 0: none"
    )
    arguments = parser.parse_args()
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    figures: dict[str, object] = {}
    if arguments.mil:
        figures["sets"] = classical_sets(arguments.mil, experiment.head_presets["modern"], arguments.seeds)
    if arguments.slides:
        head = next(head for head in experiment.heads if isinstance(head, AbmilHead))
        figures["speed"] = speed(head, experiment.head_presets, arguments.slides)
    print(json.dumps(figures))


def classical_sets(folder: Path, modern: HeadPreset, n_seeds: int) -> dict[str, object]:
    """Accuracy on MUSK1 and ELEPHANT.

    Their folds are too small to keep bags for validation, so the last epoch is tested.
    """
    preset = modern.model_copy(update={"patience": None})
    measured: dict[str, object] = {}
    for name, published in PUBLISHED.items():
        for gated in (False, True):
            head = AbmilHead(
                kind="abmil", name="abmil", preset="modern", gated=gated, embedding=128, attention=64, dropout=0.25
            )
            of_seeds = [set_accuracy(folder / f"{name}.csv", head, preset, seed) for seed in range(n_seeds)]
            kind = "gated" if gated else "attention"
            std = float(np.std(of_seeds, ddof=1)) if n_seeds > 1 else None
            measured[f"{name}_{kind}"] = {"mean": float(np.mean(of_seeds)), "std_over_seeds": std, **published}
            print(f"{name:9} {kind:10} {np.mean(of_seeds):.3f} over {n_seeds} x 10 folds; published {published[kind]}")
    return measured


def set_accuracy(path: Path, head: AbmilHead, preset: HeadPreset, seed: int) -> float:
    """Mean accuracy of ten folds."""
    data = mil_set(path, n_folds=FOLDS, validation_fraction=0, seed=seed)
    outputs = predict_trained(head, preset.model_copy(update={"seed": seed}), data)
    return float(np.mean(accuracies(data, [fold.outputs for fold in outputs])))


def speed(head: AbmilHead, presets: dict[str, HeadPreset], n_slides: int) -> dict[str, object]:
    """Seconds of ten folds, and the mean AUC that came out."""
    data = planted_cohort(n_slides)
    measured: dict[str, object] = {"slides": n_slides, "regions": REGIONS, "width": WIDTH, "folds": FOLDS}
    for name, preset in presets.items():
        loop = timed(f"{name}, plain loop", data, partial(plain_loop, head, preset, data))
        here = timed(f"{name}, evaluate", data, partial(predicted, head, preset, data))
        wall, cpu = (loop[what] / here[what] for what in ("seconds", "cpu_seconds"))
        measured[name] = {"plain loop": loop, "evaluate": here, "wall_ratio": wall, "cpu_ratio": cpu}
        print(f"{name}: the plain loop takes {wall:.2f} times the wall time, {cpu:.2f} times the processor time")
    return measured | {"torch": torch.__version__, "cores": os.cpu_count()}


def timed(name: str, data: EvaluationData, way: Callable[[], list[NDArray[np.float64]]]) -> dict[str, float]:
    """Wall and processor time of a way to train and test all folds, and the mean AUC."""
    start, cpu_start = time.perf_counter(), processor_seconds()
    outputs = way()
    seconds, cpu = time.perf_counter() - start, processor_seconds() - cpu_start
    tests = [fold.test.outcomes for fold in data.folds]
    auc = np.mean([point_metrics("subtyping", *fold)["auc"] for fold in zip(tests, outputs, strict=True)])
    print(f"{name:20} {seconds:7.1f} s, {cpu:7.1f} s of CPU   AUC {auc:.3f}", flush=True)
    return {"seconds": seconds, "cpu_seconds": cpu, "auc": float(auc)}


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def planted_cohort(n_slides: int) -> EvaluationData:
    """Bags of noise; in every other slide an eighth of the regions leans along one axis."""
    rng = np.random.default_rng(0)
    axis = rng.normal(size=WIDTH)
    axis *= 3 / np.linalg.norm(axis)
    slides = [LabelledSlide(f"s{i:04d}", f"p{i:04d}", "ab"[i % 2]) for i in range(n_slides)]
    bags = {}
    for slide in slides:
        bag = rng.normal(size=(REGIONS, WIDTH))
        bag[: REGIONS // 8] += axis * (slide.label == "b")
        bags[slide.slide] = bag.astype(np.float32)
    folds = GeneratedFolds(kind="generated", n_folds=FOLDS, validation_fraction=0.1, seed=0)
    task = ClassTask(name="planted", cohort="c", label="l", classes=["a", "b"], folds=folds)
    return evaluation_data(bags, generate_folds(task.classes, slides, folds), task)


def predicted(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """As `evaluate` does it."""
    return [fold.outputs for fold in predict_trained(head, preset, data)]


class PlainAbmil(nn.Module):
    """Gated ABMIL of torch's layers, for one bag."""

    def __init__(self, head: AbmilHead) -> None:
        """As `head` says."""
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(WIDTH, head.embedding), nn.ReLU(), nn.Dropout(head.dropout))
        self.v, self.u = (nn.Linear(head.embedding, head.attention) for _ in range(2))
        self.w = nn.Linear(head.attention, 1, bias=False)
        self.classify = nn.Linear(head.embedding, 2)

    def forward(self, bag: Tensor) -> Tensor:
        """(n, D) -> (1, 2)."""
        h = self.embed(bag)
        attention = self.w(torch.tanh(self.v(h)) * torch.sigmoid(self.u(h))).softmax(dim=0)  # (n, 1)
        return self.classify(attention.T @ h)  # type: ignore[no-any-return]


def plain_loop(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """Fold after fold on one core."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    features = data.features[np.arange(data.features.shape[0])]
    outputs = [PlainFold(head, preset, features, fold).train().test() for fold in data.folds]
    torch.set_num_threads(n_threads)
    return outputs


class PlainFold:
    """A fold, trained and tested bag by bag."""

    def __init__(self, head: AbmilHead, preset: HeadPreset, features: NDArray[np.float32], fold: FoldCases) -> None:
        """Bags are standardised once, if they are."""
        torch.manual_seed(preset.seed)
        training = features[np.concatenate(fold.train.rows)]
        vectors = (features - training.mean(axis=0)) / training.std(axis=0) if preset.standardise else features
        self.preset, self.model = preset, PlainAbmil(head)
        self.splits = [split_of(vectors, cases) for cases in (fold.train, fold.val, fold.test)]

    def train(self) -> "PlainFold":
        """To the last epoch, or until the validation loss has not fallen for a while."""
        adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.preset.optimiser]
        optimiser = adam(
            self.model.parameters(), lr=self.preset.learning_rate, weight_decay=self.preset.weight_decay, fused=True
        )
        best, age, kept = math.inf, 0, self.model.state_dict()
        for _ in range(self.preset.epochs):
            self.train_epoch(optimiser)
            if self.preset.patience:
                loss = self.validation_loss()
                age = 0 if loss < best else age + 1
                if age == 0:
                    best, kept = loss, deepcopy(self.model.state_dict())
                if age == self.preset.patience:
                    break
        self.model.load_state_dict(kept)
        return self

    def train_epoch(self, optimiser: torch.optim.Optimizer) -> None:
        """Classes equally often."""
        bags, classes = self.splits[0]
        self.model.train()
        drawn = torch.multinomial(balance(classes), len(bags), replacement=True)
        for step in torch.split(drawn, self.preset.batch_size):
            logits = torch.cat([self.model(bags[i]) for i in step.tolist()])
            optimiser.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(logits, classes[step]) / self.preset.loss_divisor)
            optimiser.step()

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Classes weigh the same."""
        bags, classes = self.splits[1]
        self.model.eval()
        logits = torch.cat([self.model(bag) for bag in bags])
        return float(nn.functional.cross_entropy(logits, classes, 1 / torch.bincount(classes).float()))

    @torch.inference_mode()
    def test(self) -> NDArray[np.float64]:
        """Probabilities, (n, 2)."""
        self.model.eval()
        return torch.cat([self.model(bag) for bag in self.splits[2][0]]).double().softmax(dim=1).numpy()


def split_of(vectors: NDArray[np.float32], cases: Cases) -> tuple[list[Tensor], Tensor]:
    """The bags of some cases, and their classes."""
    return [torch.from_numpy(vectors[rows]) for rows in cases.rows], torch.from_numpy(cases.outcomes.numbers)


def balance(classes: Tensor) -> Tensor:
    """Of each case 1 over the number of cases of its class."""
    return 1 / torch.bincount(classes)[classes].float()


if __name__ == "__main__":
    main()

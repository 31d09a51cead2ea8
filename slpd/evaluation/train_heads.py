"""Training heads on all folds of a task together: the weights of the folds are stacked, a step takes bags of each.

A fold's result depends on the seed, the fold's number and its slides, not on the folds beside it (to rounding). All of
it runs on the CPU: the networks are small, and results do not depend on a GPU.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slpd.artifacts.folds import SPLITS
from slpd.errors import EvaluationError
from slpd.evaluation.abmil import Abmil
from slpd.evaluation.cases import Cases, EvaluationData, FoldCases
from slpd.evaluation.fold_adam import FoldAdam
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.max_mil import MaxMil
from slpd.evaluation.outcome_loss import class_loss, survival_loss
from slpd.evaluation.packed_bags import PackedBags
from slpd.evaluation.vit_wsi import VitWsi
from slpd.settings.heads import AbmilHead, AnyTrainedHead, HeadPreset, MaxMilHead

log = logging.getLogger(__name__)

Chosen = dict[int, list[int]]  # fold of the group -> places of its chosen cases in a split

WORKERS = 2  # threads that train folds side by side; always, so that results do not depend on the number of cores
TESTED_TOGETHER = 16  # bags of a fold that are passed through at a time when nothing is trained
MOST_ROWS = 2**16  # regions of a step, over folds: 50 MB per activation of width 192


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep torch's operations on the thread that calls them.

    They are too small to share: on a busy machine threads that wait for each other make them several times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread_each()
def predict_trained(head: AnyTrainedHead, preset: HeadPreset, data: EvaluationData) -> list[HeadOutput]:
    """Train the head on every fold and say what it makes of the fold's test cases."""
    with ThreadPoolExecutor(WORKERS) as pool:
        groups = pool.map(lambda group: FoldGroup(head, preset, data, group).fit().test(), fold_groups(preset, data))
        return [output for group in groups for output in group]


def fold_groups(preset: HeadPreset, data: EvaluationData) -> list[dict[int, FoldCases]]:
    """The folds by number, in groups that fit into memory and keep all workers busy."""
    largest = max(
        len(rows) for fold in data.folds for split in (fold.train, fold.val, fold.test) for rows in split.rows
    )
    fitting = MOST_ROWS // (max(preset.batch_size, TESTED_TOGETHER) * largest)
    size = max(1, min(fitting, math.ceil(len(data.folds) / WORKERS)))
    numbered = list(enumerate(data.folds))
    return [dict(numbered[start : start + size]) for start in range(0, len(numbered), size)]


class CaseTensors:
    """The cases of a split as tensors."""

    def __init__(self, cases: Cases) -> None:
        """Made once: a step takes a few of them."""
        self.rows = [torch.from_numpy(rows) for rows in cases.rows]
        self.numbers, self.observed = (
            torch.from_numpy(cases.outcomes.numbers),
            torch.from_numpy(cases.outcomes.observed),
        )

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.rows)


class FoldGroup:
    """Some folds that are trained together."""

    def __init__(
        self, head: AnyTrainedHead, preset: HeadPreset, data: EvaluationData, folds: dict[int, FoldCases]
    ) -> None:
        """Draw the weights of every fold; `folds` are by number."""
        self.head, self.preset, self.data = head, preset, data
        self.numbers = list(folds)
        self.train, self.val, self.test_cases = (
            [CaseTensors(getattr(fold, split)) for fold in folds.values()] for split in SPLITS
        )
        self.features = torch.from_numpy(data.features)  # (R, D)
        moments = [region_moments(data.features, fold.train, preset.standardise) for fold in folds.values()]
        self.mean, self.scale = (torch.stack(values)[:, None] for values in zip(*moments, strict=True))  # (F, 1, D)
        seeds = [np.random.SeedSequence((preset.seed, number)).spawn(3) for number in self.numbers]
        weights, self.sampling = ([torch_generator(fold[i]) for fold in seeds] for i in range(2))
        self.dropping = [np.random.default_rng(fold[2]) for fold in seeds]
        self.model = build(head, self.features.shape[1], data, weights)

    def fit(self) -> "FoldGroup":
        """Train every fold; leaves the weights of each fold's kept epoch."""
        optimiser = FoldAdam(self.model, self.preset)
        kept = KeptEpochs(self.model, len(self.numbers), self.preset)
        for epoch in range(self.preset.epochs):
            training = kept.unfinished(epoch)
            if not training:
                break
            self.train_epoch(optimiser, training)
            watched = [fold for fold in training if self.preset.patience and len(self.val[fold])]
            for fold, loss in self.validation_losses(watched).items():
                kept.report(fold, epoch, loss)
        kept.restore()
        for number, epoch in zip(self.numbers, kept.epochs, strict=True):
            log.info("head %s, fold %d: kept epoch %d of %d", self.head.name, number, epoch + 1, self.preset.epochs)
        return self

    def train_epoch(self, optimiser: FoldAdam, training: Sequence[int]) -> None:
        """One pass: as many draws as a fold has training cases."""
        draws = {fold: torch.split(self.draw(fold), self.preset.batch_size) for fold in training}
        for step in range(max(map(len, draws.values()))):
            cases = {fold: draws[fold][step].tolist() for fold in training if step < len(draws[fold])}
            bags = self.pack(self.train, cases, drop=True)
            logits, _ = self.forward(bags, list(cases))  # (F, B, C)
            losses = self.losses(logits, self.train, cases)
            mean = torch.where(bags.sizes > 0, losses, 0).sum(dim=1) / bags.n_bags  # (F,)
            torch.autograd.backward(mean.sum() / self.preset.loss_divisor)
            optimiser.step(list(cases))

    def draw(self, fold: int) -> Tensor:
        """The training cases of an epoch, in order, (n,)."""
        train, generator = self.train[fold], self.sampling[fold]
        if not self.preset.balanced or self.data.survival:
            return torch.randperm(len(train), generator=generator)
        weights = balancing_weights(train.numbers)
        return torch.multinomial(weights, len(train), replacement=True, generator=generator)

    def pack(self, splits: Sequence[CaseTensors], cases: Chosen, drop: bool) -> PackedBags:
        """Some cases of some folds, as input of the model."""
        rows = [[splits[fold].rows[place] for place in places] for fold, places in cases.items()]
        n_bags = max(map(len, rows))
        sizes = torch.tensor([[*map(len, bags), *[0] * (n_bags - len(bags))] for bags in rows])  # (F, B)
        index = nn.utils.rnn.pad_sequence([torch.cat(bags) for bags in rows], batch_first=True)  # (F, T)
        regions = self.features[index]  # (F, T, D)
        if self.preset.standardise:
            regions.sub_(self.mean[list(cases)]).mul_(self.scale[list(cases)])
        return PackedBags(regions, sizes, [self.dropping[fold] for fold in cases] if drop else None)

    def forward(self, bags: PackedBags, folds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits (F, B, C) and region weights (F, T) of the given folds."""
        if len(folds) == len(self.numbers):
            return self.model(bags)  # type: ignore[no-any-return]
        index = torch.tensor(folds)
        parameters = {name: parameter[index] for name, parameter in self.model.named_parameters()}
        return torch.func.functional_call(self.model, parameters, (bags,))  # type: ignore[no-any-return]

    def losses(self, logits: Tensor, splits: Sequence[CaseTensors], cases: Chosen) -> Tensor:
        """(F, B): of every chosen case; anything where there is none."""
        outcomes = [(splits[fold].numbers[places], splits[fold].observed[places]) for fold, places in cases.items()]
        numbers, observed = (nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in zip(*outcomes, strict=True))
        return survival_loss(logits, numbers, observed) if self.data.survival else class_loss(logits, numbers)

    @torch.no_grad()
    def validation_losses(self, folds: Sequence[int]) -> dict[int, float]:
        """Mean loss of each fold's validation cases; every class that occurs weighs the same."""
        losses: dict[int, list[Tensor]] = {fold: [] for fold in folds}
        for cases, _, logits, _ in self.passes(self.val, folds):
            found = self.losses(logits, self.val, cases)
            for row, (fold, places) in enumerate(cases.items()):
                losses[fold].append(found[row, : len(places)])
        return {fold: self.balanced_mean(torch.cat(found), self.val[fold].numbers) for fold, found in losses.items()}

    def balanced_mean(self, losses: Tensor, numbers: Tensor) -> float:
        """The mean of some cases' losses; over classes, the mean of the means of those that occur."""
        if self.data.survival:
            return float(losses.mean())
        weights = balancing_weights(numbers)
        return float((losses * weights).sum() / weights.sum())

    def passes(
        self, splits: Sequence[CaseTensors], folds: Sequence[int]
    ) -> Iterator[tuple[Chosen, PackedBags, Tensor, Tensor]]:
        """Pass all cases of some folds through the model: cases, bags, logits, weights of some at a time."""
        for start in range(0, max((len(splits[fold]) for fold in folds), default=0), TESTED_TOGETHER):
            cases = {
                fold: list(range(start, min(start + TESTED_TOGETHER, len(splits[fold]))))
                for fold in folds
                if start < len(splits[fold])
            }
            bags = self.pack(splits, cases, drop=False)
            yield cases, bags, *self.forward(bags, list(cases))

    @torch.inference_mode()
    def test(self) -> list[HeadOutput]:
        """What the trained folds make of their test cases."""
        activation: Callable[[Tensor], Tensor] = torch.sigmoid if self.data.survival else lambda x: x.softmax(dim=-1)
        outputs: list[list[NDArray[np.float64]]] = [[] for _ in self.numbers]
        weights: list[list[NDArray[np.float32]]] = [[] for _ in self.numbers]
        for cases, bags, logits, found in self.passes(self.test_cases, range(len(self.numbers))):
            activated = activation(logits.double())
            for row, (fold, places) in enumerate(cases.items()):
                outputs[fold].append(activated[row, : len(places)].numpy())
                sizes = bags.sizes[row, : len(places)].tolist()
                weights[fold] += [piece.numpy() for piece in torch.split(found[row, : sum(sizes)], sizes)]
        said = [HeadOutput(np.concatenate(o), w) for o, w in zip(outputs, weights, strict=True)]
        for number, output in zip(self.numbers, said, strict=True):
            self.refuse_diverged(number, output)
        return said

    def refuse_diverged(self, number: int, output: HeadOutput) -> None:
        """Refuse what a fold says if it is not a number."""
        if not np.isfinite(output.outputs).all():
            raise EvaluationError(
                f"head {self.head.name}, fold {number}: training diverged, predictions are not finite; lower"
                f" learning_rate of its preset (it is {self.preset.learning_rate:g}), or set standardise: true"
            )


class KeptEpochs:
    """The best epoch of every fold so far, and its weights."""

    def __init__(self, model: nn.Module, n_folds: int, preset: HeadPreset) -> None:
        """Until an epoch is reported, the last one counts as kept."""
        self.parameters, self.preset = list(model.parameters()), preset
        self.losses = [float("inf")] * n_folds
        self.epochs = [preset.epochs - 1] * n_folds
        self.weights: dict[int, list[Tensor]] = {}

    def unfinished(self, epoch: int) -> list[int]:
        """The folds that are trained in an epoch: whose best one is not too long ago."""
        patience = self.preset.patience or self.preset.epochs
        return [f for f in range(len(self.epochs)) if f not in self.weights or epoch - self.epochs[f] <= patience]

    def report(self, fold: int, epoch: int, loss: float) -> None:
        """Keep this epoch of a fold if its loss is the lowest so far."""
        if loss < self.losses[fold]:
            self.losses[fold], self.epochs[fold] = loss, epoch
            self.weights[fold] = [parameter.detach()[fold].clone() for parameter in self.parameters]

    @torch.no_grad()
    def restore(self) -> None:
        """Put every fold's kept weights back; folds of which no epoch was reported keep the last."""
        for fold, kept in self.weights.items():
            for parameter, weights in zip(self.parameters, kept, strict=True):
                parameter[fold] = weights


def torch_generator(seed: np.random.SeedSequence) -> torch.Generator:
    """A generator of torch's that draws what the seed says."""
    return torch.Generator().manual_seed(int(seed.generate_state(1)[0]))


def build(head: AnyTrainedHead, width: int, data: EvaluationData, generators: Sequence[torch.Generator]) -> nn.Module:
    """The network of a head, with weights for each generator's fold."""
    if isinstance(head, AbmilHead):
        return Abmil(width, data.n_outputs, head, generators)
    if isinstance(head, MaxMilHead):
        return MaxMil(width, data.n_outputs, head, generators, data.survival)
    return VitWsi(width, data.n_outputs, head, generators)


def balancing_weights(numbers: Tensor) -> Tensor:
    """Of each case 1 over the number of cases of its class, (n,)."""
    return 1 / torch.bincount(numbers)[numbers].float()


def region_moments(features: NDArray[np.float32], train: Cases, standardise: bool) -> tuple[Tensor, Tensor]:
    """What standardises region vectors: the mean (D,) of the training cases' regions, and 1 / standard deviation.

    1 in place of a deviation of 0; without `standardise`, 0 and 1.
    """
    width = features.shape[1]
    if not standardise:
        return torch.zeros(width), torch.ones(width)
    regions = features[np.concatenate(train.rows)]  # (R, D)
    mean, std = regions.mean(axis=0, dtype=np.float64), regions.std(axis=0, dtype=np.float64)
    return torch.from_numpy(mean).float(), torch.from_numpy(1 / np.where(std > 0, std, 1)).float()

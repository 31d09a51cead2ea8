"""ABMIL as one writes it: torch's own layers and a loop, fold after fold and bag after bag.

A baseline for speed, and for whether `evaluate` learns what such a loop learns with the same recipe on the same folds.
"""

import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slpd.evaluation.cases import Cases, EvaluationData, FoldCases
from slpd.evaluation.head_network import FARTHEST
from slpd.settings.heads import AbmilHead, HeadPreset

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class PlainAbmil(nn.Module):
    """ABMIL for one bag, attention or gated attention."""

    def __init__(self, width: int, layers: tuple[int, ...], attention: int, gated: bool, dropout: float) -> None:
        """`width` values of an instance; `layers`: widths of its embedding."""
        super().__init__()
        steps = zip((width, *layers), layers, strict=False)
        self.embed = nn.Sequential(
            *(part for i, o in steps for part in (nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)))
        )
        self.v, self.u = (nn.Linear(layers[-1], attention) for _ in range(2))
        self.w = nn.Linear(attention, 1, bias=False)
        self.gated, self.classify = gated, nn.Linear(layers[-1], 2)

    def forward(self, bag: Tensor) -> Tensor:
        """(n, D) -> (1, 2)."""
        h = self.embed(bag)
        hidden = torch.tanh(self.v(h)) * torch.sigmoid(self.u(h)) if self.gated else torch.tanh(self.v(h))
        return self.classify(self.w(hidden).softmax(dim=0).T @ h)  # type: ignore[no-any-return]


def plain_of(head: AbmilHead, width: int) -> PlainAbmil:
    """The network of a head."""
    return PlainAbmil(width, (head.embedding,), head.attention, head.gated, head.dropout)


def plain_loop(
    network: Callable[[int], PlainAbmil], preset: HeadPreset, data: EvaluationData
) -> list[NDArray[np.float64]]:
    """Probabilities of every fold's test cases, (n, 2), on one core; `network` is made for the instances' width."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    features = data.features[np.arange(data.features.shape[0])]
    outputs = [PlainFold(network, preset, features, fold).train().test() for fold in data.folds]
    torch.set_num_threads(n_threads)
    return outputs


class PlainFold:
    """A fold, trained and tested bag by bag."""

    def __init__(
        self,
        network: Callable[[int], PlainAbmil],
        preset: HeadPreset,
        features: NDArray[np.float32],
        fold: FoldCases,
    ) -> None:
        """Bags are standardised once, if they are."""
        torch.manual_seed(preset.seed)
        vectors = standardised(features, fold.train) if preset.standardise else features
        self.preset, self.model = preset, network(features.shape[1])
        self.splits = [split_of(vectors, cases) for cases in (fold.train, fold.val, fold.test)]

    def train(self) -> "PlainFold":
        """To the last epoch, or until the validation loss has not fallen for a while."""
        optimiser = OPTIMISERS[self.preset.optimiser](
            self.model.parameters(), lr=self.preset.learning_rate, weight_decay=self.preset.weight_decay, fused=True
        )
        best, age, kept = math.inf, 0, None
        for _ in range(self.preset.epochs):
            self.train_epoch(optimiser)
            if self.preset.patience and self.splits[1][0]:
                loss = self.validation_loss()
                age = 0 if loss < best else age + 1
                if age == 0:
                    best, kept = loss, deepcopy(self.model.state_dict())
                if age == self.preset.patience:
                    break
        if kept:
            self.model.load_state_dict(kept)
        return self

    def train_epoch(self, optimiser: torch.optim.Optimizer) -> None:
        """Classes equally often, or every bag once."""
        bags, classes = self.splits[0]
        self.model.train()
        drawn = torch.randperm(len(bags))
        if self.preset.balanced:
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


def standardised(features: NDArray[np.float32], train: Cases) -> NDArray[np.float32]:
    """By the training instances, as heads do it."""
    training = features[np.concatenate(train.rows)].astype(np.float64)
    deviation = training.std(axis=0)
    z = (features - training.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return np.asarray(z.clip(-FARTHEST, FARTHEST), np.float32)


def split_of(vectors: NDArray[np.float32], cases: Cases) -> tuple[list[Tensor], Tensor]:
    """The bags of some cases, and their classes."""
    return [torch.from_numpy(vectors[rows]) for rows in cases.rows], torch.from_numpy(cases.outcomes.numbers)


def balance(classes: Tensor) -> Tensor:
    """Of each case 1 over the number of cases of its class."""
    return 1 / torch.bincount(classes)[classes].float()

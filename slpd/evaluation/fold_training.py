"""Training a head on one fold, bag by bag, and testing it."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slpd.evaluation.abmil import Abmil
from slpd.evaluation.cases import Cases, EvaluationData
from slpd.evaluation.head_network import CaseTensors, HeadNetwork, held_together
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.max_mil import MaxMil
from slpd.evaluation.objectives import objective_of
from slpd.evaluation.simlp import Simlp
from slpd.evaluation.stored_features import Features
from slpd.evaluation.vit_wsi import VitWsi
from slpd.method.adam import Adam, AdamW
from slpd.settings.heads import AbmilHead, HeadPreset, MaxMilHead, SimlpHead, TrainedHead, VitWsiHead

# Settings -> network, which is made of them and the task's shape.
NETWORKS: dict[type[TrainedHead], Callable[[Any, Any], nn.Module]] = {
    AbmilHead: Abmil,
    MaxMilHead: MaxMil,
    SimlpHead: Simlp,
    VitWsiHead: VitWsi,
}
OPTIMISERS = {"adam": Adam, "adamw": AdamW}


class FoldTraining(HeadNetwork):
    """A network in training on one fold. It draws from torch's generator, which is seeded for the fold."""

    def __init__(self, head: TrainedHead, preset: HeadPreset, data: EvaluationData, number: int) -> None:
        """Seed torch's generator by the preset's seed and the fold's number, and draw the weights."""
        seed = np.random.SeedSequence((preset.seed, number)).generate_state(1)
        torch.manual_seed(int(seed[0]))
        fold, self.preset = data.folds[number], preset
        self.train, self.val, self.tested = (CaseTensors(cases) for cases in (fold.train, fold.val, fold.test))
        self.cut_by = CaseTensors(fold.cut_by)
        moments = region_moments(data.features, fold.train) if preset.standardise else None
        network, objective = NETWORKS[type(head)](head, data.shape), objective_of(data.task, fold)
        super().__init__(network, objective, moments, preset.batch_size, data)
        self.optimiser = OPTIMISERS[preset.optimiser](
            self.network.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay, fused=True
        )

    def fit(self) -> int:
        """Train; the number from 0 of the epoch that was kept, whose weights the network has."""
        lowest, kept, weights = math.inf, self.preset.epochs - 1, None
        for epoch in range(self.preset.epochs):
            self.train_epoch()
            if not self.preset.patience or not self.objective.can_judge(self.val.truth):
                continue
            loss = self.validation_loss()
            if loss < lowest:
                lowest, kept, weights = loss, epoch, deepcopy(self.network.state_dict())
            elif epoch - kept >= self.preset.patience:
                break
        if weights:
            self.network.load_state_dict(weights)
        return kept

    def train_epoch(self) -> None:
        """One pass: as many draws as there are training cases."""
        self.network.train()
        for places in torch.split(self.sample_cases(), self.preset.batch_size):
            self.optimiser.zero_grad()
            for some in [places] if self.objective.joint else held_together(self.train, places):
                logits, _ = self.network(*self.bags(self.train, some))
                losses = self.objective.losses(logits, self.train.truth.of(some))
                torch.autograd.backward(losses.sum() / (len(places) * self.preset.loss_divisor))
            self.optimiser.step()

    def sample_cases(self) -> Tensor:
        """The training cases of an epoch, in order, (n,)."""
        if not self.preset.balanced or not self.objective.draws_classes:
            return torch.randperm(len(self.train))
        return torch.multinomial(balancing_weights(self.train.truth.numbers), len(self.train), replacement=True)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss of the validation cases; over classes, the mean of the means of those that occur."""
        logits, _ = self.outputs(self.val)
        losses = self.objective.losses(logits, self.val.truth)
        if not self.objective.draws_classes:
            return float(losses.mean())
        weights = balancing_weights(self.val.truth.numbers)
        return float((losses * weights).sum() / weights.sum())

    def test(self) -> HeadOutput:
        """What the network makes of the test cases and of those to cut by, and its parameters."""
        cut_logits = self.logits(self.cut_by)
        self.objective.settle(cut_logits)
        cut_outputs = self.objective.outputs(cut_logits)
        return replace(self.predict(self.tested), cut_outputs=cut_outputs, parameters=self.parameters)


def balancing_weights(numbers: Tensor) -> Tensor:
    """Of each case 1 over the number of cases of its class, (n,)."""
    return 1 / torch.bincount(numbers)[numbers].float()


def region_moments(features: Features, train: Cases) -> tuple[Tensor, Tensor]:
    """What standardises region vectors: the mean (D,) of the training cases' regions, and 1 / standard deviation.

    1 in place of a deviation of 0. One case is read at a time; its moments are merged into those of the cases before
    (Chan, Golub, LeVeque, The American Statistician 37, 1983).
    """
    n, mean, squares = 0, np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for rows in train.rows:
        regions = features[rows]  # (m, D)
        of_case, m = regions.mean(axis=0, dtype=np.float64), len(rows)
        squares += np.square(regions - of_case).sum(axis=0) + np.square(of_case - mean) * (n * m / (n + m))
        mean += (of_case - mean) * (m / (n + m))
        n += m
    std = np.sqrt(squares / n)
    return torch.from_numpy(mean).float(), torch.from_numpy(1 / np.where(std > 0, std, 1)).float()

"""A head's network at work: on bags of any size, as many at a time as memory allows, in training and after it."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slpd.evaluation.cases import Cases, EvaluationData
from slpd.evaluation.head_output import HeadOutput

MOST_REGIONS = 2**13  # that go through a network together: 6 MB per activation of width 192
MEAN, INVERSE = "moments.mean", "moments.inverse_deviation"  # of region vectors, among a head's parameters


class CaseTensors:
    """The cases of a split as tensors."""

    def __init__(self, cases: Cases) -> None:
        """Made once: a step takes a few of them."""
        self.rows = [torch.from_numpy(rows) for rows in cases.rows]
        self.numbers = torch.from_numpy(cases.outcomes.numbers)
        self.observed = torch.from_numpy(cases.outcomes.observed)

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.rows)


class HeadNetwork:
    """A network with the region vectors that it reads, and what standardises these."""

    def __init__(
        self, network: nn.Module, moments: tuple[Tensor, Tensor] | None, batch_size: int, data: EvaluationData
    ) -> None:
        """`moments` are mean (D,) and 1 / deviation (D,); None: vectors are read as they are."""
        self.network, self.moments, self.batch_size = network, moments, batch_size
        self.features, self.survival = data.features, data.survival

    @property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Weights of the network by name, and the moments, copied."""
        moments = dict(zip((MEAN, INVERSE), self.moments or (), strict=False))
        return {name: tensor.numpy().copy() for name, tensor in (self.network.state_dict() | moments).items()}

    def load(self, parameters: Mapping[str, NDArray[np.float32]]) -> None:
        """Take the weights and moments that `parameters` gave."""
        tensors = {name: torch.from_numpy(values) for name, values in parameters.items()}
        self.moments = (tensors.pop(MEAN), tensors.pop(INVERSE)) if MEAN in tensors else None
        self.network.load_state_dict(tensors)

    def bags(self, cases: CaseTensors, places: Tensor) -> tuple[Tensor, list[int]]:
        """The region vectors of some cases, one case after the other, (T, D), and how many each has."""
        rows = [cases.rows[place] for place in places.tolist()]
        regions = torch.from_numpy(self.features[torch.cat(rows).numpy()])
        if self.moments:
            regions.sub_(self.moments[0]).mul_(self.moments[1])
        return regions, [len(of_case) for of_case in rows]

    @torch.inference_mode()
    def predict(self, cases: CaseTensors) -> HeadOutput:
        """What the network makes of cases: class probabilities or hazards, and the weight of each region."""
        logits, weights = self.outputs(cases)
        activated = logits.double().sigmoid() if self.survival else logits.double().softmax(dim=1)
        sizes = [len(rows) for rows in cases.rows]
        return HeadOutput(activated.numpy(), [piece.numpy() for piece in torch.split(weights, sizes)])

    def outputs(self, cases: CaseTensors) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and weights (T,) of all cases, as many at a time as in training."""
        self.network.eval()
        batches = torch.split(torch.arange(len(cases)), self.batch_size)
        passes = [self.network(*self.bags(cases, some)) for places in batches for some in held_together(cases, places)]
        logits, weights = zip(*passes, strict=True)
        return torch.cat(logits), torch.cat(weights)


def held_together(cases: CaseTensors, places: Tensor) -> tuple[Tensor, ...]:
    """Some cases, in parts of at most MOST_REGIONS regions or one case: gradients of parts add up to that of all."""
    largest = max(len(cases.rows[place]) for place in places.tolist())
    return torch.split(places, max(1, MOST_REGIONS // largest))

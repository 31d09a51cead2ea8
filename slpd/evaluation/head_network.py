"""A head's network at work: on bags of any size, as many at a time as memory allows, in training and after it."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slpd.evaluation.cases import Cases, EvaluationData
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.objectives import Objective, Truth

MOST_REGIONS = 2**13  # that go through a network together: 6 MB per activation of width 192
# Deviations from the training mean; a value beyond counts as this far. A feature that hardly varies in training may lie
# thousands away elsewhere, and would decide alone.
FARTHEST = 10.0
# Among a head's parameters: those of region vectors, and the beginning of what an objective has learnt.
MEAN, INVERSE, OBJECTIVE = "moments.mean", "moments.inverse_deviation", "objective."


class CaseTensors:
    """The cases of a split as tensors."""

    def __init__(self, cases: Cases) -> None:
        """Made once: a step takes a few of them."""
        self.rows = [torch.from_numpy(rows) for rows in cases.rows]
        self.truth = Truth(*map(torch.from_numpy, vars(cases.outcomes).values()))

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.rows)


class HeadNetwork:
    """A network with the region vectors that it reads, what standardises these, and what its logits mean."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        moments: tuple[Tensor, Tensor] | None,
        batch_size: int,
        data: EvaluationData,
    ) -> None:
        """`moments` are mean (D,) and 1 / deviation (D,); None: vectors are read as they are."""
        self.network, self.objective, self.moments, self.batch_size = network, objective, moments, batch_size
        self.features, self.n_logits = data.features, data.shape.n_outputs

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """Weights of the network by name, the moments, and what the objective has learnt, copied."""
        moments = dict(zip((MEAN, INVERSE), self.moments or (), strict=False))
        weights = {name: tensor.numpy().copy() for name, tensor in (self.network.state_dict() | moments).items()}
        return weights | {f"{OBJECTIVE}{name}": values for name, values in self.objective.state.items()}

    def load(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Take what `parameters` gave."""
        state = {n.removeprefix(OBJECTIVE): values for n, values in parameters.items() if n.startswith(OBJECTIVE)}
        self.objective.restore(state)
        tensors = {n: torch.from_numpy(values) for n, values in parameters.items() if not n.startswith(OBJECTIVE)}
        self.moments = (tensors.pop(MEAN), tensors.pop(INVERSE)) if MEAN in tensors else None
        self.network.load_state_dict(tensors)

    def bags(self, cases: CaseTensors, places: Tensor) -> tuple[Tensor, list[int]]:
        """The region vectors of some cases, one case after the other, (T, D), and how many each has."""
        rows = [cases.rows[place] for place in places.tolist()]
        regions = torch.from_numpy(self.features[torch.cat(rows).numpy()])
        if self.moments:
            regions.sub_(self.moments[0]).mul_(self.moments[1]).clamp_(-FARTHEST, FARTHEST)
        return regions, [len(of_case) for of_case in rows]

    @torch.inference_mode()
    def predict(self, cases: CaseTensors) -> HeadOutput:
        """What the network makes of cases, and the weight of each region; of none to cut by."""
        logits, weights = self.outputs(cases)
        pieces = [piece.numpy() for piece in torch.split(weights, [len(rows) for rows in cases.rows])]
        outputs = self.objective.outputs(logits)
        return HeadOutput(outputs, pieces, outputs[:0])

    @torch.inference_mode()
    def logits(self, cases: CaseTensors) -> Tensor:
        """Of all cases, (n, C)."""
        return self.outputs(cases)[0]

    def outputs(self, cases: CaseTensors) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and weights (T,) of all cases, as many at a time as in training; there may be none."""
        if not len(cases):
            return torch.empty(0, self.n_logits), torch.empty(0)
        self.network.eval()
        batches = torch.split(torch.arange(len(cases)), self.batch_size)
        passes = [self.network(*self.bags(cases, some)) for places in batches for some in held_together(cases, places)]
        logits, weights = zip(*passes, strict=True)
        return torch.cat(logits), torch.cat(weights)


def held_together(cases: CaseTensors, places: Tensor) -> tuple[Tensor, ...]:
    """Some cases, in parts of at most MOST_REGIONS regions or one case: gradients of parts add up to that of all."""
    largest = max(len(cases.rows[place]) for place in places.tolist())
    return torch.split(places, max(1, MOST_REGIONS // largest))

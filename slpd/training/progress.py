"""Where a training stage is, as a checkpoint keeps it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.iterations import Iterations
from slpd.artifacts.prototypes import CohortPrototypes
from slpd.artifacts.slide_graph import SlideGraphArrays
from slpd.artifacts.training_metrics import STEP_METRICS, EpochMetrics
from slpd.method.schedules import Schedules
from slpd.training.renewal import Renewal


@dataclass
class Progress:
    """Everything of a stage that is not in the learner."""

    epoch: int  # the running epoch, counted from 0 over all stages
    steps: list[Tensor] = field(default_factory=list)  # what Learner.step gave for the steps done in it
    finished: list[EpochMetrics] = field(default_factory=list)
    renewal: Renewal | None = None  # of the running iteration
    renewed_at: int = -1  # the epoch that it was made before
    assignments: list[NDArray[np.int16]] = field(default_factory=list)  # (R,) of every iteration so far
    neighbours: list[NDArray[np.int32]] = field(default_factory=list)  # (S, K) likewise; K is 0 without a graph

    def begin_iteration(self, renewal: Renewal) -> None:
        """Train towards renewed prototypes from here on."""
        self.renewal, self.renewed_at = renewal, self.epoch
        nobody = np.empty((len(renewal.prototypes.slides), 0), np.int32)
        self.assignments.append(renewal.prototypes.assignments)
        self.neighbours.append(renewal.graph.neighbours if renewal.graph else nobody)

    def end_epoch(self, schedules: Schedules, steps_per_epoch: int) -> None:
        """Start the next epoch, with the metrics of this one: means over its steps, rates of its last."""
        last = schedules.at((self.epoch + 1) * steps_per_epoch - 1)
        means = torch.stack(self.steps).double().mean(dim=0).tolist()
        values = dict(zip(STEP_METRICS, means, strict=True)) | last._asdict()
        self.finished.append(EpochMetrics.of(self.epoch + 1, values))
        self.epoch, self.steps = self.epoch + 1, []

    def iterations(self, offsets: NDArray[np.int64], slides: list[str]) -> Iterations:
        """The history of a variant, for its artefact."""
        none = np.empty((0, int(offsets[-1])), np.int16), np.empty((0, len(slides), 0), np.int32)
        assignments, neighbours = (np.stack(self.assignments), np.stack(self.neighbours)) if self.assignments else none
        return Iterations(assignments, neighbours, offsets, slides)

    def state_dict(self) -> dict[str, Any]:
        """As plain values and tensors, which load without running code."""
        renewal = self.renewal and {
            "prototypes": vars(self.renewal.prototypes),
            "graph": self.renewal.graph and vars(self.renewal.graph),
        }
        finished = [vars(metrics) for metrics in self.finished]
        state = as_tensors({**vars(self), "finished": finished, "renewal": renewal})
        assert isinstance(state, dict)
        return state

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """Back from plain values and tensors."""
        arrays: Any = as_arrays({key: value for key, value in state.items() if key != "steps"})
        renewal = arrays["renewal"] and Renewal(
            CohortPrototypes(**arrays["renewal"]["prototypes"]),
            arrays["renewal"]["graph"] and SlideGraphArrays(**arrays["renewal"]["graph"]),
        )
        finished = [EpochMetrics(**metrics) for metrics in state["finished"]]
        return cls(**{**arrays, "steps": state["steps"], "finished": finished, "renewal": renewal})


def as_tensors(tree: object) -> object:
    """Nested dicts and lists with every array as a tensor."""
    if isinstance(tree, dict):
        return {key: as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [as_tensors(value) for value in tree]
    return torch.from_numpy(tree) if isinstance(tree, np.ndarray) else tree


def as_arrays(tree: object) -> object:
    """Nested dicts and lists with every tensor as an array."""
    if isinstance(tree, dict):
        return {key: as_arrays(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [as_arrays(value) for value in tree]
    return tree.cpu().numpy() if isinstance(tree, Tensor) else tree

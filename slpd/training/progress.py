"""How far training is, as a checkpoint stores it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from slpd.artifacts.learned.training_metrics import STEP_METRICS, EpochMetrics
from slpd.method.schedules import Schedules


@dataclass
class Progress:
    """The state of a training outside the learner, except an iteration's targets (training_folder.py)."""

    epoch: int  # the running epoch, counted from 0 over all stages
    steps: list[Tensor] = field(default_factory=list)  # what Learner.step gave for the steps done in it
    finished: list[EpochMetrics] = field(default_factory=list)  # of this training, so without the warm-up's
    renewed_at: int = -1  # the epoch before which prototypes were last made

    def end_epoch(self, schedules: Schedules, steps_per_epoch: int) -> None:
        """Start the next epoch, with the metrics of this one: means over its steps, rates of its last."""
        last = schedules.at((self.epoch + 1) * steps_per_epoch - 1)
        means = torch.stack(self.steps).double().mean(dim=0).tolist()
        of_steps = dict(zip(STEP_METRICS, means, strict=True))
        self.finished.append(EpochMetrics.of({"epoch": self.epoch + 1} | of_steps | last._asdict()))
        self.epoch, self.steps = self.epoch + 1, []

    def state_dict(self) -> dict[str, Any]:
        """As plain values and tensors, which load without running code."""
        return {**vars(self), "finished": [metrics.columns() for metrics in self.finished]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """Back from plain values and tensors."""
        return cls(**{**state, "finished": [EpochMetrics.of(columns) for columns in state["finished"]]})

"""Resuming: a side file beside the output keeps a training stage that was killed from starting over.

Snakemake does not know the file, for it deletes the declared outputs of failed jobs. It holds the learner
and the place in the schedule; batches are functions of (seed, epoch, step), so there is no other state.
"""

import logging
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slpd.artifacts.checkpoint import Identity, differences, read_checkpoint, write_checkpoint
from slpd.artifacts.training_metrics import EpochMetrics
from slpd.errors import UserError
from slpd.method.processes import process_index, sum_over_processes
from slpd.training.learner import Learner

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a training stage is."""

    epoch: int  # the running epoch, counted from 0 over all stages
    steps: list[Tensor] = field(default_factory=list)  # what Learner.step gave for the steps done in it
    finished: list[EpochMetrics] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """As plain values and tensors."""
        return {"epoch": self.epoch, "steps": self.steps, "finished": [vars(metrics) for metrics in self.finished]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """Back from plain values and tensors."""
        return cls(state["epoch"], state["steps"], [EpochMetrics(**metrics) for metrics in state["finished"]])


class ResumeFile:
    """The side file of one training stage."""

    def __init__(self, path: Path, identity: Identity, minutes: float, device: torch.device) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            path: Where it lies.
            identity: What the stage computes; a file of anything else is discarded.
            minutes: Time between two saves.
            device: Where its tensors are loaded to.
        """
        self.path, self.identity, self.seconds, self.device = path, identity, 60 * minutes, device
        self.saved_at = time.monotonic()

    def load(self, learner: Learner) -> Progress | None:
        """Bring the learner to where the stage was; None: start afresh.

        A file that is damaged or belongs to another computation is discarded with a log line: nothing but
        unfinished work is lost.
        """
        if not self.path.exists():
            return None
        try:
            content = read_checkpoint(self.path, self.device)
        except UserError as error:
            logger.warning("starting afresh: %s", error)
            return None
        different = differences(content["identity"], self.identity)
        if different:
            logger.warning("starting afresh: %s is of another run, different in %s", self.path, ", ".join(different))
            return None
        learner.load_state_dict(content["learner"])
        progress = Progress.from_state_dict(content["progress"])
        logger.info("resuming from %s: epoch %d, step %d", self.path, progress.epoch + 1, len(progress.steps))
        return progress

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved_at >= self.seconds

    def save(self, learner: Learner, progress: Progress) -> None:
        """Write the file, from the first process alone."""
        if process_index() == 0:
            content = {"learner": learner.state_dict(), "progress": progress.state_dict()}
            write_checkpoint(self.path, {"identity": self.identity, **content})
        self.saved_at = time.monotonic()

    def remove(self) -> None:
        """The stage is done."""
        self.path.unlink(missing_ok=True)


class StopRequest:
    """Whether the queue has asked to stop (SIGTERM), as a context around training."""

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> "StopRequest":
        """Take over the signal."""
        self.before: Any = signal.signal(signal.SIGTERM, self.note)
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGTERM, self.before)

    def note(self, *signal_and_frame: object) -> None:
        """Remember the signal; the loop acts on it between two steps."""
        self.received = True

    def agreed(self) -> bool:
        """Whether any process has been asked, the same answer in each: all must stop after the same step."""
        return bool(sum_over_processes(torch.tensor(int(self.received))))

"""Resuming: a side file beside the output keeps a training stage that was killed from starting over.

Snakemake does not know the file, for it deletes the declared outputs of failed jobs. It holds the learner
and the stage's progress; batches are functions of (seed, epoch, step), so there is no other state.
"""

import logging
import signal
import time
from pathlib import Path
from typing import Any

import torch

from slpd.artifacts.checkpoint import Identity, differences, read_checkpoint, write_checkpoint
from slpd.errors import UserError
from slpd.method.processes import process_index, sum_over_processes
from slpd.training.learner import Learner
from slpd.training.progress import Progress

logger = logging.getLogger(__name__)


class ResumeFile:
    """The side file of one training stage."""

    def __init__(self, path: Path, identity: Identity, minutes: float) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            path: Where it lies.
            identity: What the stage computes; a file of anything else is refused.
            minutes: Time between two saves.
        """
        self.path, self.identity, self.seconds = path, identity, 60 * minutes
        self.saved_at = time.monotonic()
        self.holds = "none yet"  # where the stage was when it was last saved, for messages

    def load(self, learner: Learner) -> Progress | None:
        """Bring the learner to where the stage was; None: start afresh.

        A file that is damaged or belongs to another computation is refused with a log line that says in what it
        differs; it is overwritten by the next save: nothing but unfinished work of that other computation is lost.
        """
        if not self.path.exists():
            return None
        try:
            content = read_checkpoint(self.path, learner.device)
        except UserError as error:
            logger.warning("starting afresh: %s", error)
            return None
        different = differences(content["identity"], self.identity)
        if different:
            logger.warning("starting afresh: %s is of another run, different in %s", self.path, ", ".join(different))
            return None
        learner.load_state_dict(content["learner"])
        progress = Progress.from_state_dict(content["progress"])
        self.note(progress)
        logger.info("resuming from %s", self.holds)
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
        self.note(progress)

    def note(self, progress: Progress) -> None:
        """Remember what the file holds."""
        self.holds = f"{self.path}, epoch {progress.epoch + 1} after step {len(progress.steps)}"

    def remove(self) -> None:
        """The stage is done."""
        self.path.unlink(missing_ok=True)


class QueueSignals:
    """What the queue asks of training, as a context around it: SIGTERM to save and stop, SIGUSR1 to save and go on."""

    numbers = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: set[int] = set()

    def __enter__(self) -> "QueueSignals":
        """Take over the signals."""
        self.before: dict[int, Any] = {number: signal.signal(number, self.note) for number in self.numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, frame: object) -> None:
        """Remember a signal; the loop acts on it between two steps."""
        self.received.add(number)

    def agreed(self) -> tuple[bool, bool]:
        """Whether any process has been asked to stop, to save: the same answer in each, after the same step."""
        asked = torch.tensor([int(number in self.received) for number in self.numbers])
        self.received.discard(signal.SIGUSR1)
        stop, save = sum_over_processes(asked).bool().tolist()
        return stop, save

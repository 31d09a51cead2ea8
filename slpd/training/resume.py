"""Resuming: a file that Snakemake does not know keeps a training that was killed from starting over.

Snakemake would delete it with the declared outputs of failed jobs. It holds the learner and the progress of training;
batches are functions of (seed, epoch, step), so there is no other state.
"""

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from slpd.artifacts.learned.checkpoint import Identity, differences, read_checkpoint, write_checkpoint
from slpd.errors import UserError
from slpd.method.processes import from_first, n_processes, process_index, sum_over_processes
from slpd.slurm.limit import WARNING, warn_before_limit
from slpd.training.learner import Learner
from slpd.training.progress import Progress

logger = logging.getLogger(__name__)


class ResumeFile:
    """The file of one training."""

    def __init__(self, path: Path, identity: Identity, minutes: float) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            path: Where it lies.
            identity: What is trained; a file of anything else is refused.
            minutes: Time between two saves.
        """
        self.path, self.identity, self.seconds = path, identity, 60 * minutes
        self.saved_at = time.monotonic()
        self.holds = "none yet"  # how far the stage was when last saved, for messages

    def find(self) -> Progress | None:
        """How far training was; None: start afresh. The first process decides for all.

        A file that is damaged or belongs to another computation is refused with a log line that says in what it
        differs; it is overwritten by the next save: nothing but unfinished work of that other computation is lost.

        Raises:
            OSError: the file is there and cannot be read; it may be whole.
        """
        return from_first(self.look() if process_index() == 0 else None)

    def load(self, learner: Learner) -> Progress:
        """Restore the learner.

        Raises:
            UserError: a process does not see what the first one resumes from.
        """
        checkpoint = read_checkpoint(self.path, learner.device)
        learner.load_state_dict(checkpoint["learner"])
        progress = Progress.from_state_dict(checkpoint["progress"])
        self.note(progress)
        if from_first(self.holds) != self.holds:
            raise UserError(f"{self.path}: processes see different files; give all nodes the same file system")
        logger.info("resuming from %s", self.holds)
        return progress

    def look(self) -> Progress | None:
        """`find`, for this process alone."""
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            file.read(1)  # an error of the disk or of permissions is no damage
        try:
            checkpoint = read_checkpoint(self.path, torch.device("cpu"), mapped=True)
        except UserError as error:
            logger.warning("starting afresh: %s", error)
            return None
        different = differences(checkpoint["identity"], self.identity)
        if different:
            logger.warning("starting afresh: %s is of another run, different in %s", self.path, ", ".join(different))
            return None
        return Progress.from_state_dict(checkpoint["progress"])

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved_at >= self.seconds

    def save(self, learner: Learner, progress: Progress, last: bool) -> None:
        """Write the file, from the first process alone.

        Raises:
            OSError: it cannot be written and this is the `last` chance; otherwise the old file stays, with a warning.
        """
        self.saved_at = time.monotonic()
        if process_index() == 0:
            state = {"learner": learner.state_dict(), "progress": progress.state_dict()}
            try:
                write_checkpoint(self.path, {"identity": self.identity, **state})
            except (OSError, RuntimeError) as error:  # torch reports a full disk as either
                if last:
                    raise OSError(f"{self.path}: cannot be written ({error}); it holds {self.holds}") from error
                logger.warning("not saved, training continues: %s: %s; it holds %s", self.path, error, self.holds)
                return
        self.note(progress)

    def note(self, progress: Progress) -> None:
        """Remember what the file holds."""
        self.holds = f"{self.path}, epoch {progress.epoch + 1} after step {len(progress.steps)}"

    def remove(self) -> None:
        """Training is over, and what it made is written."""
        self.path.unlink(missing_ok=True)


class QueueSignals:
    """What a queue or a terminal asks of training, as a context around it.

    SIGTERM, SIGINT and SIGHUP, and the first process's warning before the time limit: to save and stop. SIGUSR1: to
    save and go on.
    """

    stopping = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, WARNING)  # of the queue, of a terminal
    numbers = (*stopping, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: set[int] = set()
        self.looks = 0
        self.parent = os.getppid()

    def __enter__(self) -> "QueueSignals":
        """Take over the signals."""
        self.parent = os.getppid()
        self.before: dict[int, Any] = {number: signal.signal(number, self.note) for number in self.numbers}
        self.warning = warn_before_limit()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the signals back."""
        self.warning.cancel()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, frame: object) -> None:
        """Remember a signal; the loop acts on it between two steps."""
        self.received.add(number)

    def agreed(self) -> tuple[bool, bool]:
        """Whether any process has been asked to stop, to save: the same answer in each, after the same step."""
        seen = set(self.received)
        self.looks += 1
        self.received -= seen & {signal.SIGUSR1}
        orphaned = n_processes() > 1 and os.getppid() != self.parent  # torchrun was killed: no restart
        asked = torch.tensor(
            [orphaned or not seen.isdisjoint(self.stopping), signal.SIGUSR1 in seen], dtype=torch.int64
        )
        stop, save = sum_over_processes(asked).bool().tolist()
        return stop, save

    def out_of_time(self) -> bool:
        """Whether training stops because of its time limit and has made progress.

        Without progress its job would be restarted for ever.
        """
        return self.received & set(self.stopping) == {WARNING} and self.looks > 1

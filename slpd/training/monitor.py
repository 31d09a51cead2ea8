"""What shows the progress of training: a progress line, metrics as JSON lines, TensorBoard events.

None of it is a result: times differ from run to run.
"""

import json
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.learned.training_metrics import STEP_METRICS
from slpd.method.processes import process_index
from slpd.method.schedules import StepRates
from slpd.settings.training import TERMS, Training
from slpd.training.progress import Progress

LINE_SECONDS = 30  # between two progress lines

logger = logging.getLogger(__name__)


class Monitor:
    """The progress of one stage, in the first process."""

    def __init__(self, folder: Path, epochs: range, steps_per_epoch: int, training: Training) -> None:
        """Watch a stage.

        Args:
            folder: Where `metrics.jsonl` and TensorBoard's events go.
            epochs: Epochs of the stage, counted from 0.
            steps_per_epoch: Steps of an epoch.
            training: For the whole schedule.
        """
        self.folder, self.epochs, self.steps_per_epoch, self.training = folder, epochs, steps_per_epoch, training
        self.seen = 0  # steps of the whole schedule at the last report
        self.first = process_index() == 0
        self.events: SummaryWriter | None = None  # None: no longer written

    def start(self, progress: Progress) -> None:
        """Training resumes here; drop the lines of later steps, which a killed run wrote."""
        self.seen = self.steps_at(progress)
        self.started = self.line_at = time.monotonic()
        if not self.first:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            keep_lines_before(self.folder / "metrics.jsonl", self.seen)
            self.events = SummaryWriter(str(self.folder), purge_step=self.seen + 1)
        except OSError as error:
            self.give_up(error)

    def steps_at(self, progress: Progress) -> int:
        """Steps of the whole schedule that are done."""
        return progress.epoch * self.steps_per_epoch + len(progress.steps)

    def report(self, progress: Progress, rates: StepRates) -> None:
        """Write down the steps since the last report."""
        if not self.first:
            return
        done, now = self.steps_at(progress), time.monotonic()
        new = min(done - self.seen, len(progress.steps))
        means = torch.stack(progress.steps[-new:]).double().mean(dim=0).tolist()
        speed = (done - self.seen) * self.training.batch_size / max(now - self.started, 1e-9)
        metrics = dict(zip(STEP_METRICS, means, strict=True)) | rates._asdict() | {"regions_per_second": speed}
        try:
            self.write(done, progress, metrics)
        except OSError as error:
            self.give_up(error)
        ended = len(progress.steps) == self.steps_per_epoch
        if ended or now - self.line_at >= LINE_SECONDS:
            self.line(done, progress, metrics)
            self.line_at = now
        self.seen, self.started = done, now

    def write(self, done: int, progress: Progress, metrics: dict[str, float]) -> None:
        """Append to both files."""
        if self.events is None:
            return
        place = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "epoch": progress.epoch + 1, "step": done}
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(place | metrics) + "\n")
        for name, value in metrics.items():
            self.events.add_scalar(name, value, done)
        self.events.flush()

    def line(self, done: int, progress: Progress, metrics: dict[str, float]) -> None:
        """One line: progress, losses, speed and time left."""
        left = self.epochs.stop * self.steps_per_epoch - done
        logger.info(
            "epoch %d of %d, step %d of %d: loss %.4f (%s), %.0f regions/s, %s left in this stage",
            progress.epoch + 1,
            self.training.epochs,
            len(progress.steps),
            self.steps_per_epoch,
            metrics["loss"],
            ", ".join(f"{term.symbol} {metrics[term.name]:.4f}" for term in TERMS),
            metrics["regions_per_second"],
            timedelta(seconds=round(left * self.training.batch_size / metrics["regions_per_second"])),
        )

    def give_up(self, error: OSError) -> None:
        """Stop writing curves: they are no results, and training continues without them."""
        logger.warning("metrics are no longer written to %s: %s", self.folder, error)
        self.events = None

    def close(self) -> None:
        """The stage is done."""
        if self.events:
            self.events.close()


def keep_lines_before(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, and all that is no line of metrics."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = "".join(f"{line}\n" for line in lines if step_of(line) <= step)
        with atomic_path(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")


def step_of(line: str) -> float:
    """The step of a line of metrics; infinite where it was cut off or is something else."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, LookupError):
        return math.inf

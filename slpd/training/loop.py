"""The training loop of `pretrain_dino` and `distill_slpd`."""

import logging
import signal
from dataclasses import dataclass

import torch

from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.artifacts.learned.training_metrics import STEP_METRICS
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.errors import UserError
from slpd.method.processes import from_first
from slpd.method.schedules import Schedules, make_schedules
from slpd.slurm.limit import start_again
from slpd.training.batches import Batches, own_regions
from slpd.training.embed import embed_cohort, refuse_infinite_vectors
from slpd.training.learner import Learner
from slpd.training.monitor import Monitor
from slpd.training.progress import Progress
from slpd.training.resume import QueueSignals, ResumeFile

CHECK_STEPS = 50  # steps between two checks of the loss, each of which waits for the GPU

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """What a training stage works with."""

    learner: Learner  # changed in place
    batches: Batches
    cohort: CohortTokens
    resume: ResumeFile
    monitor: Monitor
    signals: QueueSignals

    def train(self, epochs: range, progress: Progress) -> None:
        """Train some epochs of the schedule from `progress`, which is changed in place.

        Args:
            epochs: Which epochs, counted from 0 over all stages.
            progress: Belongs to the learner as it is.

        Raises:
            UserError: the loss is not finite.
            SystemExit: a signal was received, or the time limit is near; the state is saved.
        """
        schedules = make_schedules(self.learner.training, self.batches.per_epoch)
        while progress.epoch < epochs.stop:
            self.train_epoch(schedules, progress)

    def train_epoch(self, schedules: Schedules, progress: Progress) -> None:
        """Train the rest of the running epoch."""
        epoch, steps = progress.epoch, progress.steps
        freeze_last_layer = epoch < self.learner.training.freeze_last_layer_epochs
        for batch in self.batches.batches_from(epoch, len(steps)):
            rates = schedules.at(epoch * self.batches.per_epoch + len(steps))
            steps.append(self.learner.step(batch, rates, freeze_last_layer))
            stop, save = self.signals.agreed()
            save = save or stop or self.resume.due()
            ended = len(steps) == self.batches.per_epoch
            if ended or save or len(steps) % CHECK_STEPS == 0:
                self.check_losses(progress)
                self.monitor.report(progress, rates)
            if ended:
                progress.end_epoch(schedules, self.batches.per_epoch)
            self.save_or_stop(progress, save, stop)

    def pause(self, progress: Progress) -> None:
        """Between two epochs, before or after long work: save and stop if asked."""
        stop, save = self.signals.agreed()
        self.save_or_stop(progress, save or stop, stop)

    def save_or_stop(self, progress: Progress, save: bool, stop: bool) -> None:
        """Save, or save and end the process, if asked."""
        out_of_time = self.signals.out_of_time()  # before saving, during which other signals may come
        if save:
            self.resume.save(self.learner, progress, last=stop)
        if stop:
            logger.warning("stopped by a signal; the next start resumes from %s", self.resume.holds)
            if out_of_time:
                start_again()
            from_first(None)  # torchrun ends all processes when one ends: none does before the first has saved
            raise SystemExit(128 + signal.SIGTERM)

    def check_losses(self, progress: Progress) -> None:
        """Stop at a loss that is not finite, naming its batch; scaled gradients may overflow now and then."""
        looked_at = [name != "gradient_norm" or not self.learner.precision.scaled for name in STEP_METRICS]
        finite = torch.stack(progress.steps).cpu()[:, looked_at].isfinite().all(dim=1).tolist()
        if not all(finite):
            step = finite.index(False)
            regions = self.cohort.describe_regions(self.batches.regions_of(progress.epoch, step))
            raise UserError(
                f"loss is not finite at epoch {progress.epoch + 1}, step {step + 1}; look for values that are not"
                " finite in the tokens of its regions, or lower training.learning_rate; last good checkpoint:"
                f" {self.resume.holds}; regions (slide: numbers): {regions}"
            )

    def embed(self) -> CohortEmbeddings | None:
        """The teacher's embeddings of every region, from its centre crop; None in processes but the first."""
        learner, cohort = self.learner, self.cohort
        own = own_regions(learner.training, cohort.n_regions)
        with learner.precision.autocast():
            width, crop = self.batches.encoder.width, learner.training.global_crop
            vectors = embed_cohort(learner.teacher.embed, width, self.batches.tokens, own, cohort, crop)
        if vectors is None:
            return None
        refuse_infinite_vectors(vectors, cohort)
        return CohortEmbeddings(vectors[:, width:], vectors[:, :width], cohort.offsets, cohort.slides)

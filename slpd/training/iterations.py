"""The iterations of a variant: each renews prototypes and slide graph, then trains the epochs that use them."""

from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.learned.training_folder import TrainingFolder
from slpd.method.processes import from_first, process_index
from slpd.settings.training import Objective
from slpd.training.loop import Trainer
from slpd.training.progress import Progress
from slpd.training.renewal import Renew, Renewal, targets_of


@dataclass(frozen=True)
class Given:
    """Targets of an iteration that were made before this job: by `cluster_regions` and `link_slides`."""

    iteration: int
    renewal: Renewal


@dataclass(frozen=True)
class IterationLoop:
    """The iterations of one variant."""

    trainer: Trainer
    objective: Objective
    renew: Renew | None  # None: plain DINO, which has no targets to renew
    folder: TrainingFolder
    shown: Path  # where the targets of iterations are laid out for people
    given: Given | None  # where a job begins; None: it makes all targets itself

    def train(self, progress: Progress, until: int) -> None:
        """Train from `progress`, which is changed in place, until so many iterations are over."""
        training = self.trainer.learner.training
        for iteration in range(until):
            epochs = training.epochs_of(iteration)
            if progress.epoch < epochs.stop:
                self.train_one(iteration, epochs, progress)

    def train_one(self, iteration: int, epochs: range, progress: Progress) -> None:
        """Train the rest of an iteration; one that has not begun starts with renewed targets."""
        if self.renew and progress.renewed_at < epochs.start:
            self.trainer.pause(progress)
            self.begin(iteration, self.renew)
            progress.renewed_at = epochs.start
            self.trainer.pause(progress)
        if self.renew:
            renewal = from_first(self.kept(iteration) if process_index() == 0 else None)
            assert renewal is not None, "the first process has read them"
            self.trainer.batches.prototypes = targets_of(renewal, self.objective, self.trainer.learner.device)
        self.trainer.train(epochs, progress)
        if process_index() == 0:
            self.folder.drop_encoder(iteration)

    def begin(self, iteration: int, renew: Renew) -> None:
        """Keep the targets of an iteration; the first process makes them."""
        renewal = self.given_for(iteration) or self.renewed(renew)
        if process_index() == 0:
            assert renewal is not None, "the first process has embeddings"
            self.folder.keep_targets(iteration, renewal.prototypes, renewal.graph)
            if not self.given_for(iteration):  # else they are there already, as outputs of their rules
                self.folder.show_targets(iteration, self.shown)

    def kept(self, iteration: int) -> Renewal:
        """The targets of an iteration that has begun."""
        return Renewal(*self.folder.read_targets(iteration, self.objective.needs_graph))

    def given_for(self, iteration: int) -> Renewal | None:
        """The targets of an iteration that were made before this job."""
        return self.given.renewal if self.given and self.given.iteration == iteration else None

    def renewed(self, renew: Renew) -> Renewal | None:
        """Targets made of the teacher as it is; None in processes but the first."""
        embeddings = self.trainer.embed()
        return None if embeddings is None else renew(embeddings)

"""The training loop takes every step of its epochs with the rates of the schedule, and no other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import ENCODER, FLOAT32, GRID, TOKEN_WIDTH, TRAINING

from slpd.artifacts.learned.checkpoint import read_checkpoint, write_checkpoint
from slpd.artifacts.learned.training_metrics import STEP_METRICS
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.method.schedules import StepRates, make_schedules
from slpd.settings.training import PLAIN_DINO
from slpd.training.batches import Batches
from slpd.training.learner import Learner
from slpd.training.loop import Trainer
from slpd.training.monitor import Monitor
from slpd.training.progress import Progress
from slpd.training.resume import QueueSignals, ResumeFile
from slpd.training.token_store import ResidentTokens

pytestmark = pytest.mark.torch

R = 20  # regions: two steps of 8 per epoch, 4 regions wait


def rates(step: int, steps: int, warmup: int) -> StepRates:
    """Learning rate, weight decay and momentum of a step by the formulas of the recipe, of `steps` in all."""
    t = TRAINING

    def cosine(start: float, end: float, place: int, length: int) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * place / length)) / 2

    peak = t.learning_rate * t.batch_size / 256
    rising = peak * step / (warmup - 1)
    falling = cosine(peak, t.final_learning_rate, step - warmup, steps - warmup)
    return StepRates(
        rising if step < warmup else falling,
        cosine(t.weight_decay, t.final_weight_decay, step, steps),
        cosine(t.teacher_momentum, 1, step, steps),
    )


def test_two_epochs_in_the_middle_of_the_schedule_equal_their_steps_one_by_one(tmp_path: Path) -> None:
    """The last layer is frozen in the first of four epochs alone; here are the first two."""
    tokens = torch.randn(R, GRID, GRID, TOKEN_WIDTH, generator=torch.Generator().manual_seed(0))
    cohort = CohortTokens(["a"], np.array([0, R]), ["tokens"], [tmp_path], [0], [(0, 0, 0)], GRID, TOKEN_WIDTH)
    batches = Batches(ResidentTokens(tokens, np.arange(R)), R, ENCODER, TRAINING, GRID)
    looped, stepped = (Learner(ENCODER, TRAINING, PLAIN_DINO, TOKEN_WIDTH, FLOAT32, 8) for _ in range(2))
    progress, monitor = Progress(0), Monitor(tmp_path / "live", range(2), batches.per_epoch, TRAINING)
    monitor.start(progress)
    Trainer(looped, batches, cohort, ResumeFile(tmp_path / "resume", {}, 60), monitor, QueueSignals()).train(
        range(2), progress
    )
    for epoch in range(2):
        for step in range(2):
            drawn = rates(2 * epoch + step, steps=2 * TRAINING.epochs, warmup=2)
            stepped.step(next(batches.batches_from(epoch, step)), drawn, freeze_last_layer=epoch == 0)
    for ours, theirs in zip(looped.student.parameters(), stepped.student.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(looped.teacher.parameters(), stepped.teacher.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert [epoch.learning_rate for epoch in progress.finished] == pytest.approx([rates(1, 8, 2)[0], rates(3, 8, 2)[0]])
    assert [epoch.teacher_momentum for epoch in progress.finished] == pytest.approx(
        [rates(1, 8, 2)[2], rates(3, 8, 2)[2]]
    )


def test_metrics_kept_over_a_restart_give_the_bytes_of_those_that_were_not(tmp_path: Path) -> None:
    schedules = make_schedules(TRAINING, 2)

    def after_two_epochs(restarted: bool) -> bytes:
        progress = Progress(0)
        for _ in range(2):
            progress.steps = [torch.arange(float(len(STEP_METRICS)))] * 2
            progress.end_epoch(schedules, 2)
            write_checkpoint(tmp_path / "state.pt", {"identity": {}, "learner": {}, "progress": progress.state_dict()})
            if restarted:
                content = read_checkpoint(tmp_path / "state.pt", torch.device("cpu"))
                progress = Progress.from_state_dict(content["progress"])
        return (tmp_path / "state.pt").read_bytes()

    assert after_two_epochs(restarted=True) == after_two_epochs(restarted=False)

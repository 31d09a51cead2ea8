"""What can be watched: every step once in metrics.jsonl and TensorBoard's events, after a kill too; progress lines."""

import json
import logging
from pathlib import Path

import pytest
import torch
from small_training import (
    JOBS,
    N_REGIONS,
    TRAINING,
    collect_arguments,
    distill_arguments,
    pretrain_arguments,
    stage,
    stop_at_every_step,
    write_cohort,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.method.schedules import StepRates
from slpd.training.monitor import Monitor
from slpd.training.progress import Progress

pytestmark = pytest.mark.torch

STEPS = sum(N_REGIONS.values()) // TRAINING.batch_size  # per epoch


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_of_a_run_that_was_stopped_hold_every_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manifest = write_cohort(tmp_path)
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm"))
    arguments = distill_arguments(manifest, tmp_path / "out", tmp_path / "warm")
    with monkeypatch.context() as patched:
        stop_at_every_step(patched, after=2)
        with pytest.raises(SystemExit):
            stage("distill_slpd", *arguments)
    with open(tmp_path / "out_live/metrics.jsonl", "a") as file:  # of steps that were not saved, and cut off
        file.write('{"step": 999, "loss": 0.0}\n{"step": 10')
    stage("distill_slpd", *arguments)
    stage("collect_iterations", *collect_arguments(tmp_path / "out"))
    found = lines(tmp_path / "out_live")
    assert [entry["step"] for entry in found] == [2 * STEPS + 2, 3 * STEPS, 4 * STEPS]
    epoch = read_metrics(tmp_path / "out.csv")[-1]
    for name in ("loss", "self_distillation", "intra", "inter", "teacher_entropy", "feature_spread", "gradient_norm"):
        assert found[-1][name] == pytest.approx(epoch.columns()[name])
    assert found[-1]["learning_rate"] == epoch.learning_rate
    assert found[-1]["regions_per_second"] > 0
    events = EventAccumulator(str(tmp_path / "out_live")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [entry["step"] for entry in found]
    assert [event.value for event in events.Scalars("inter")] == pytest.approx([entry["inter"] for entry in found])
    assert (
        f"epoch 4 of 4, step {STEPS} of {STEPS}: loss {epoch.loss:.4f} (L_self {epoch.terms['self_distillation']:.4f}"
        in caplog.text
    )


def test_a_fresh_run_does_not_add_to_the_metrics_of_another(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    for _ in range(2):
        stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm", jobs=JOBS))
    assert [entry["step"] for entry in lines(tmp_path / "warm_live")] == [STEPS, 2 * STEPS]


def test_time_left_is_that_of_the_steps_left_at_the_speed_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr("slpd.training.monitor.time.monotonic", lambda: now[0])
    monitor = Monitor(tmp_path, range(2), 100, TRAINING)
    monitor.start(Progress(0))
    now[0] += 40
    monitor.report(Progress(0, [torch.ones(7)] * 50), StepRates(0.1, 0.1, 0.9))  # 50 steps of 8 regions in 40 s
    assert "epoch 1 of 4, step 50 of 100: loss 1.0000" in caplog.text
    assert "10 regions/s, 0:02:00 left in this stage" in caplog.text


def test_curves_that_cannot_be_written_do_not_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = write_cohort(tmp_path)
    (tmp_path / "warm_live").write_text("a file in the folder's place")
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm"))
    assert "metrics are no longer written" in caplog.text
    assert (tmp_path / "warm.csv").exists()

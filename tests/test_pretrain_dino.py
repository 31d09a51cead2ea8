"""`pretrain_dino`: what it leaves behind, and that being killed changes none of it."""

import errno
import filecmp
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_training import (
    ENCODER,
    JOBS,
    N_REGIONS,
    TOKEN_WIDTH,
    TRAINING,
    kill_after_saves,
    pretrain_arguments,
    stop_at_every_step,
    write_cohort,
)
from waiting import wait_until

from slpd.__main__ import main
from slpd.artifacts.learned.embeddings import read_embeddings
from slpd.artifacts.learned.encoder_file import read_region_encoder
from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.artifacts.patch_tokens.token_file import read_tokens
from slpd.models.network import Network
from slpd.settings.training import Training
from slpd.slurm import limit
from slpd.training.batches import epoch_order
from slpd.training.learner import Learner

pytestmark = pytest.mark.torch

OUTPUTS = (".pt", ".safetensors", ".h5", ".csv")


def pretrain(manifest: Path, out: Path, monkeypatch: pytest.MonkeyPatch, training: Training = TRAINING) -> int:
    """Run the stage in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["slpd", "pretrain_dino", *pretrain_arguments(manifest, out, training)])
    return main()


def assert_equal_outputs(first: Path, second: Path) -> None:
    for suffix in OUTPUTS:
        assert filecmp.cmp(f"{first}{suffix}", f"{second}{suffix}", shallow=False), suffix


def test_outputs_are_complete_and_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_cohort(tmp_path)
    for name in ("first", "second"):
        assert pretrain(manifest, tmp_path / name, monkeypatch) == 0
    assert_equal_outputs(tmp_path / "first", tmp_path / "second")
    embeddings = read_embeddings(tmp_path / "first.h5")
    assert embeddings.slides == list(N_REGIONS)
    assert np.diff(embeddings.offsets).tolist() == list(N_REGIONS.values())
    assert embeddings.bottleneck.shape == (sum(N_REGIONS.values()), ENCODER.bottleneck)
    np.testing.assert_allclose(np.linalg.norm(embeddings.bottleneck, axis=1), 1, atol=1e-5)
    assert embeddings.region_vector.shape == (sum(N_REGIONS.values()), ENCODER.width)
    metrics = read_metrics(tmp_path / "first.csv")
    assert [epoch.epoch for epoch in metrics] == [1, 2]
    for epoch in metrics:
        assert epoch.terms == {"self_distillation": epoch.loss, "intra": 0, "inter": 0}
        assert epoch.loss > 0
    _, card = read_region_encoder(tmp_path / "first.safetensors")
    assert (card.region_encoder, card.token_width, card.grid) == (ENCODER, TOKEN_WIDTH, 6)
    assert not list(tmp_path.glob("*.resume"))


def test_tokens_that_changed_on_the_disk_are_refused_by_slide_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_cohort(tmp_path)
    slide = list(N_REGIONS)[1]
    path = tmp_path / f"{slide}.h5"
    with h5py.File(path, "r") as file:
        place = file["features"].id.get_offset() + 100
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert pretrain(manifest, tmp_path / "out", monkeypatch) == 2
    message = capsys.readouterr().err
    assert f"token files changed on the disk since they were written: {path} (slide {slide}); delete" in message
    with h5py.File(path, "r+") as file:
        del file["checksums"]  # as earlier releases wrote it: nobody can tell
    assert pretrain(manifest, tmp_path / "out", monkeypatch) == 0


def test_embeddings_and_weights_are_those_of_the_teacher_on_centre_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_cohort(tmp_path)
    assert pretrain(manifest, tmp_path / "out", monkeypatch, TRAINING.model_copy(update={"global_crop": 4})) == 0
    teacher, student = (
        torch.load(tmp_path / "out.pt", weights_only=True)["learner"][part] for part in ("teacher", "student")
    )
    assert any(not torch.equal(teacher[name], student[name]) for name in teacher)
    weights, _ = read_region_encoder(tmp_path / "out.safetensors")
    for name, values in weights.items():
        assert torch.equal(torch.from_numpy(values), teacher[f"backbone.{name}"]), name
    network = Network(ENCODER, TOKEN_WIDTH)
    network.load_state_dict(teacher)
    embeddings = read_embeddings(tmp_path / "out.h5")
    tokens = np.concatenate([read_tokens(tmp_path / f"{slide}.h5") for slide in N_REGIONS])
    centre = torch.from_numpy(tokens).float().view(-1, 6, 6, TOKEN_WIDTH)[:, 1:5, 1:5]
    with torch.no_grad():
        vectors = network.backbone(centre)
        torch.testing.assert_close(torch.from_numpy(embeddings.region_vector), vectors)
        torch.testing.assert_close(torch.from_numpy(embeddings.bottleneck), network.head.bottleneck(vectors))


def test_killed_at_any_moment_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved after every step, killed by SIGKILL a few times: the files are those of an undisturbed run."""
    manifest = write_cohort(tmp_path)
    long = TRAINING.model_copy(update={"epochs": 31, "dino_epochs": 30})
    assert pretrain(manifest, tmp_path / "undisturbed", monkeypatch, long) == 0
    hasty = JOBS.model_copy(update={"checkpoint_minutes": 1e-9})
    arguments = pretrain_arguments(manifest, tmp_path / "killed", long, hasty)
    resume, result = (tmp_path / f"killed.safetensors{ending}" for ending in (".resume", ""))
    kill_after_saves("pretrain_dino", arguments, resume, result, times=2)
    assert pretrain(manifest, tmp_path / "killed", monkeypatch, long) == 0
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "killed")
    assert not list(tmp_path.glob("killed*.resume"))


def test_asked_to_stop_in_the_middle_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM: the state is saved after the running step; the next start goes on there."""
    manifest, steps, step = write_cohort(tmp_path), [], Learner.step

    def counted(*args: object) -> torch.Tensor:
        steps.append(0)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", counted)
    with pytest.raises(SystemExit) as stopped:
        pretrain(manifest, tmp_path / "stopped", monkeypatch)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert pretrain(manifest, tmp_path / "stopped", monkeypatch) == 0
    assert len(steps) == 2 * (sum(N_REGIONS.values()) // TRAINING.batch_size)  # no step was taken twice
    assert pretrain(manifest, tmp_path / "undisturbed", monkeypatch) == 0
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "stopped")


def test_number_of_threads_given_moves_no_byte(tmp_path: Path) -> None:
    """As Snakemake gives it: fewer where a run has fewer cores."""
    manifest = write_cohort(tmp_path)
    for threads in ("1", "2", "4"):
        command = [sys.executable, "-m", "slpd", "pretrain_dino", *pretrain_arguments(manifest, tmp_path / threads)]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": threads}, check=True)
    assert_equal_outputs(tmp_path / "1", tmp_path / "2")
    assert_equal_outputs(tmp_path / "4", tmp_path / "2")


@pytest.mark.parametrize(("at", "told"), [(1, []), (5, ["requeue"])])
def test_near_its_time_limit_it_is_started_again_if_it_got_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, told: list[str]
) -> None:
    """A job that reaches its limit in the first step would be started again for ever."""
    manifest, steps, step, asked = write_cohort(tmp_path), [], Learner.step, []

    def counted(*args: object) -> torch.Tensor:
        steps.append(0)
        if len(steps) == at:
            os.kill(os.getpid(), limit.WARNING)
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(limit, "seconds_left", lambda: None)
    monkeypatch.setattr(limit, "ask", lambda *command: asked.append(command[1]))
    monkeypatch.setattr(Learner, "step", counted)
    with pytest.raises(SystemExit) as stopped:
        pretrain(manifest, tmp_path / "stopped", monkeypatch)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert asked == told
    assert (tmp_path / "stopped.safetensors.resume").exists()


def test_training_saves_itself_when_warned_by_the_queue_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGUSR1, also while prototypes are renewed or tokens loaded: a checkpoint after the next step, no stop."""
    manifest, step, seen = write_cohort(tmp_path), Learner.step, []
    resume = tmp_path / "out.safetensors.resume"

    def warned(*args: object) -> torch.Tensor:
        seen.append(resume.exists())
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", warned)
    assert pretrain(manifest, tmp_path / "out", monkeypatch) == 0
    assert seen[:3] == [False, False, True]
    monkeypatch.undo()
    assert pretrain(manifest, tmp_path / "undisturbed", monkeypatch) == 0
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "out")


def test_unfinished_work_of_other_settings_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_cohort(tmp_path)
    with monkeypatch.context() as patched:
        stop_at_every_step(patched)
        with pytest.raises(SystemExit):
            pretrain(manifest, tmp_path / "out", monkeypatch, TRAINING.model_copy(update={"seed": 7}))
    assert pretrain(manifest, tmp_path / "out", monkeypatch) == 0
    assert "different in training.seed (7 there, 0 here)" in caplog.text
    assert pretrain(manifest, tmp_path / "fresh", monkeypatch) == 0
    assert_equal_outputs(tmp_path / "fresh", tmp_path / "out")


def test_a_loss_that_is_not_finite_names_the_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_cohort(tmp_path)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["features"][4] = np.inf
        del file["checksums"]  # as if written so
    whole = TRAINING.model_copy(update={"batch_size": sum(N_REGIONS.values())})
    assert pretrain(manifest, tmp_path / "out", monkeypatch, whole) == 2
    message = capsys.readouterr().err
    assert "epoch 1, step 1" in message
    assert "b: 0 1 2 3 4 5 6 7 8;" in message
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 25}, "training.batch_size is 25, but the cohort has 24 regions"),
        ({"global_crop": 7}, "training.global_crop is 7, but a region has 6 x 6 patches"),
    ],
)
def test_a_recipe_that_does_not_fit_the_cohort(
    change: dict[str, int],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    training = TRAINING.model_copy(update=change)
    assert pretrain(write_cohort(tmp_path), tmp_path / "out", monkeypatch, training) == 2
    assert message in capsys.readouterr().err


def test_embeddings_that_are_not_finite_name_slide_and_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A region that no batch of the epoch held is embedded all the same."""
    manifest = write_cohort(tmp_path)
    one = TRAINING.model_copy(update={"dino_epochs": 1, "batch_size": sum(N_REGIONS.values()) // 2 + 1})
    trained = epoch_order(one.seed, 0, sum(N_REGIONS.values()), one.batch_size)
    left_out = int(np.setdiff1d(np.arange(6, 15), trained)[0])  # of slide b, regions 6 to 14 of the cohort
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["features"][left_out - 6] = np.nan
        del file["checksums"]  # as if written so
    assert pretrain(manifest, tmp_path / "out", monkeypatch, one) == 2
    assert "1 regions have embeddings that are not finite" in (error := capsys.readouterr().err)
    assert f"b: {left_out - 6}" in error
    assert not (tmp_path / "out.h5").exists()


def test_a_checkpoint_that_cannot_be_written_is_a_warning_until_it_is_the_last_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_cohort(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    hasty = JOBS.model_copy(update={"checkpoint_minutes": 1e-9})
    with monkeypatch.context() as patched:
        patched.setattr("slpd.training.resume.write_checkpoint", full)
        patched.setattr(
            sys, "argv", ["slpd", "pretrain_dino", *pretrain_arguments(manifest, tmp_path / "full", jobs=hasty)]
        )
        assert main() == 0
        assert "not saved, training continues" in caplog.text
        stop_at_every_step(patched)
        patched.setattr(sys, "argv", ["slpd", "pretrain_dino", *pretrain_arguments(manifest, tmp_path / "last")])
        assert main() == 1
    assert pretrain(manifest, tmp_path / "undisturbed", monkeypatch) == 0
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "full")


def test_a_warning_before_training_has_begun_ends_nothing(tmp_path: Path) -> None:
    """SIGUSR1 while libraries are imported."""
    process = subprocess.Popen(
        [sys.executable, "-m", "slpd", "pretrain_dino", *pretrain_arguments(write_cohort(tmp_path), tmp_path / "out")]
    )
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "torch" in maps.read_text(), "torch, which is loaded long after the first line of main", process)
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == 0
    assert (tmp_path / "out.pt").exists()

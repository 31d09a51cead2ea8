"""Iterations in blocks: how many a job has, and what is killed, deleted or asked for again, changes no byte."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from small_training import (
    JOBS,
    OBJECTIVE,
    TRAINING,
    collect_arguments,
    distill_arguments,
    kill_after_saves,
    pretrain_arguments,
    stage,
    stop_at_every_step,
    train_block,
    train_variant,
    write_cohort,
)

from slpd.__main__ import main
from slpd.artifacts.learned.checkpoint import read_checkpoint
from slpd.artifacts.learned.embeddings import kept_prototypes
from slpd.artifacts.learned.iteration_history import read_iterations
from slpd.training.learner import Learner

pytestmark = pytest.mark.torch

LONG = TRAINING.model_copy(update={"epochs": 8})  # six iterations of an epoch
SOFT = JOBS.model_copy(update={"checkpoint_minutes": 1e-9})  # saves itself after every step
RESULTS = (".safetensors", ".h5", ".csv", ".npz")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort, its warm-up `warm.*`, and six iterations in one job, `whole.*`."""
    folder = tmp_path_factory.mktemp("warm")
    stage("pretrain_dino", *pretrain_arguments(write_cohort(folder), folder / "warm", LONG))
    train_variant(folder / "slides.csv", folder / "whole", folder / "warm", OBJECTIVE, LONG)
    return folder


def arguments(warm: Path, out: Path, jobs: object = JOBS) -> list[str]:
    return distill_arguments(warm / "slides.csv", out, warm / "warm", OBJECTIVE, LONG, jobs)  # type: ignore[arg-type]


def train_blocks(warm: Path, out: Path, ends: list[int]) -> None:
    """Blocks of iterations one after another, as the rules run them; each ends where the next begins."""
    for first, until in zip([0, *ends], ends, strict=False):
        train_block(first, until, out, warm / "warm", arguments(warm, out))


def collect(out: Path, last: int = 6) -> None:
    shutil.copy(f"{out}_{last}.h5", f"{out}_last.h5")
    stage("collect_iterations", *collect_arguments(out, OBJECTIVE, LONG))


def assert_equals_one_job(warm: Path, out: Path) -> None:
    """Trained encoder, embeddings, metrics and history, and the prototypes and graph of every iteration."""
    for suffix in RESULTS:
        assert Path(f"{out}{suffix}").read_bytes() == Path(f"{warm / 'whole'}{suffix}").read_bytes(), suffix
    for iteration in range(6):
        for name in ("prototypes.npz", "graph.npz"):
            file = f"iterations/{iteration:03d}/{name}"
            assert Path(f"{out}_{file}").read_bytes() == Path(f"{warm / 'whole'}_{file}").read_bytes(), file


def test_what_is_collected_is_never_older_than_what_it_was_collected_from(warm: Path) -> None:
    """Snakemake takes a job for failed otherwise. The last embeddings may be one file with those of their block."""
    collect_from = warm / "whole_last.h5"
    collected = [warm / f"whole{suffix}" for suffix in (".safetensors", ".h5", ".csv", ".npz")]
    assert min(path.stat().st_mtime_ns for path in collected) >= collect_from.stat().st_mtime_ns


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each step that is taken."""
    taken: list[int] = []
    step = Learner.step

    def counted(*args: object) -> object:
        taken.append(0)
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", counted)
    return taken


@pytest.mark.parametrize("ends", [[1, 2, 3, 4, 5, 6], [2, 4, 6], [4, 6]])
def test_the_number_of_iterations_per_job_changes_no_byte(
    warm: Path, tmp_path: Path, ends: list[int], steps: list[int]
) -> None:
    train_blocks(warm, tmp_path / "blocks", ends)
    collect(tmp_path / "blocks")
    assert len(steps) == 6 * 3  # three batches an epoch: nothing is trained twice
    assert_equals_one_job(warm, tmp_path / "blocks")


def test_plain_dino_in_blocks_equals_one_job(warm: Path, tmp_path: Path) -> None:
    plain = OBJECTIVE.model_copy(update={"intra": 0, "inter": 0})
    manifest, start = warm / "slides.csv", warm / "warm"
    train_variant(manifest, tmp_path / "one", start, plain, LONG)
    words = distill_arguments(manifest, tmp_path / "two", start, plain, LONG)
    stage("distill_slpd", *words, "--until", "4", "--out", str(tmp_path / "two_4.h5"))
    stage("distill_slpd", *words, "--first", "4", "--until", "6")
    stage("collect_iterations", *collect_arguments(tmp_path / "two", plain, LONG))
    for suffix in RESULTS:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes(), suffix
    assert len(read_iterations(tmp_path / "two.npz").assignments) == 0


def test_what_is_over_is_handed_out_and_not_trained_again(warm: Path, tmp_path: Path, steps: list[int]) -> None:
    """Snakemake deletes all outputs of a failed group, and asks for them again from the start."""
    out = tmp_path / "group"
    train_blocks(warm, out, [2, 4])
    taken = len(steps)
    shutil.rmtree(f"{out}_iterations")
    for file in tmp_path.glob("group_*.h5"):
        file.unlink()
    train_blocks(warm, out, [2, 4])
    assert len(steps) == taken
    assert kept_prototypes(Path(f"{out}_2.h5")), "of a block that training has passed, the prototypes are left"
    assert kept_prototypes(Path(f"{out}_4.h5")) is None, "of the last block, the embeddings"
    train_block(4, 6, out, warm / "warm", arguments(warm, out))
    collect(out)
    train_blocks(warm, out, [1, 2, 3, 4, 5, 6])  # and in other blocks, when all is over
    collect(out)
    assert len(steps) == 6 * 3
    for iteration in (2, 4):  # in one block with others before, so it was not laid out since the outputs were deleted
        assert Path(f"{out}_iterations/{iteration:03d}/prototypes.npz").exists()
    assert_equals_one_job(warm, out)


def test_other_blocks_go_on_in_the_middle_of_an_iteration(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after two steps of iteration 2; then a job's end, and a job's beginning, fall elsewhere."""
    out = tmp_path / "moved"
    with monkeypatch.context() as patched:
        stop_at_every_step(patched, after=8)
        with pytest.raises(SystemExit):
            train_block(0, 6, out, warm / "warm", arguments(warm, out))
    saved = read_checkpoint(Path(f"{out}_training/state.pt"), torch.device("cpu"))["progress"]
    assert (saved["epoch"], len(saved["steps"])) == (LONG.dino_epochs + 2, 2)
    train_blocks(warm, out, [1, 2, 3, 5, 6])
    collect(out)
    assert_equals_one_job(warm, out)


def test_killed_in_a_block_and_started_again(warm: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    train_blocks(warm, out, [3])
    given = ["--first", "3", "--until", "6", "--out", f"{out}_6.h5"]
    words = [*arguments(warm, out, SOFT), *given]
    kill_after_saves("distill_slpd", words, Path(f"{out}_training/state.pt"), Path(f"{out}_6.h5"), times=3)
    stage("distill_slpd", *words)
    collect(out)
    assert_equals_one_job(warm, out)


def test_stopped_between_the_last_step_and_the_embeddings(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    """The state is at the end of the block, its embeddings are not there yet: they are made, nothing is trained."""
    out = tmp_path / "late"

    def stop(*args: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr("slpd.stages.distill_slpd.write_embeddings", stop)
        with pytest.raises(SystemExit, match="killed"):
            train_block(0, 2, out, warm / "warm", arguments(warm, out, SOFT))
    steps.clear()
    train_blocks(warm, out, [2])
    assert len(steps) == 0
    train_blocks(warm, out, [2, 6])
    collect(out)
    assert_equals_one_job(warm, out)


def test_a_lost_state_is_trained_again_from_the_warm_up(warm: Path, tmp_path: Path, steps: list[int]) -> None:
    """Snakemake knows nothing of it: the files that the next block begins with are there."""
    out = tmp_path / "lost"
    train_blocks(warm, out, [4])
    shutil.rmtree(f"{out}_training")
    train_block(4, 6, out, warm / "warm", arguments(warm, out))
    assert len(steps) == 10 * 3
    collect(out)
    assert_equals_one_job(warm, out)


def test_another_recipe_clears_what_the_one_before_left(warm: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipes"
    train_variant(warm / "slides.csv", out, warm / "warm", OBJECTIVE, LONG)
    rarely = LONG.model_copy(update={"epochs_per_iteration": 3})
    train_variant(warm / "slides.csv", out, warm / "warm", OBJECTIVE, rarely)
    assert sorted(path.name for path in Path(f"{out}_iterations").iterdir()) == ["000", "001"]
    assert len(read_iterations(Path(f"{out}.npz")).assignments) == 2


def test_nothing_but_the_last_encoder_and_the_targets_are_kept(warm: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    train_blocks(warm, out, [2, 4, 6])
    kept = {path.relative_to(f"{out}_training").as_posix() for path in Path(f"{out}_training").rglob("*.*")}
    targets = {f"{i:03d}/{name}.npz" for i in range(6) for name in ("prototypes", "graph")}
    assert kept == {
        "state.pt",
        *targets,
        "006/teacher.safetensors",
        "006/metrics.csv",
        "006/embeddings.h5",
        "006/sha256.json",
    }


def test_targets_of_another_training_are_not_taken_where_training_begins_anew(warm: Path, tmp_path: Path) -> None:
    """They lie where the block's would, unknown to Snakemake: it plans the last block alone, with them as inputs."""
    out, heavier = tmp_path / "stale", OBJECTIVE.model_copy(update={"intra": 3})
    train_variant(warm / "slides.csv", out, warm / "warm", OBJECTIVE, LONG)
    words = distill_arguments(warm / "slides.csv", out, warm / "warm", heavier, LONG)
    given = Path(f"{out}_iterations/004")
    files = ("--first-prototypes", str(given / "prototypes.npz"), "--first-graph", str(given / "graph.npz"))
    stage("distill_slpd", *words, "--first", "4", "--until", "6", *files)
    stage("collect_iterations", *collect_arguments(out, heavier, LONG))
    train_variant(warm / "slides.csv", tmp_path / "honest", warm / "warm", heavier, LONG)
    for suffix in RESULTS:
        assert Path(f"{out}{suffix}").read_bytes() == (tmp_path / f"honest{suffix}").read_bytes(), suffix
    for iteration in range(6):
        ours, theirs = (tmp_path / f"{name}_iterations/{iteration:03d}/prototypes.npz" for name in ("stale", "honest"))
        assert ours.read_bytes() == theirs.read_bytes(), iteration


def test_a_graph_of_a_training_that_never_saved_itself_is_not_taken_over(warm: Path, tmp_path: Path) -> None:
    out, alone = tmp_path / "unlinked", OBJECTIVE.model_copy(update={"inter": 0})
    train_variant(warm / "slides.csv", out, warm / "warm", OBJECTIVE, LONG)
    Path(f"{out}_training/state.pt").unlink()  # killed before its first checkpoint
    train_variant(warm / "slides.csv", out, warm / "warm", alone, LONG)
    train_variant(warm / "slides.csv", tmp_path / "honest", warm / "warm", alone, LONG)
    for suffix in RESULTS:
        assert Path(f"{out}{suffix}").read_bytes() == (tmp_path / f"honest{suffix}").read_bytes(), suffix
    assert not list(tmp_path.glob("unlinked_*/*/graph.npz"))


@pytest.mark.parametrize("name", ["teacher.safetensors", "embeddings.h5", "metrics.csv", "sha256.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_an_encoder_that_is_damaged_is_made_again_of_the_state(
    warm: Path, tmp_path: Path, steps: list[int], name: str, damage: str
) -> None:
    """The result and what is kept of it may be one file on the disk."""
    shutil.copytree(warm, tmp_path / "damaged")
    out, kept = tmp_path / "damaged/whole", tmp_path / "damaged/whole_training/006" / name
    if damage == "gone":
        kept.unlink()
    else:
        content = kept.read_bytes()
        kept.write_bytes(content[:-40] if damage == "cut" else content[:-40] + bytes(40))
    train_variant(warm / "slides.csv", out, warm / "warm", OBJECTIVE, LONG)
    assert not steps
    assert_equals_one_job(warm, out)


@pytest.mark.parametrize("name", ["prototypes.npz", "graph.npz"])
def test_lost_targets_are_named_with_what_to_do(
    warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(warm, tmp_path / "lost")
    (tmp_path / "lost/whole_training/003" / name).unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            sys, "argv", ["slpd", "collect_iterations", *collect_arguments(tmp_path / "lost/whole", OBJECTIVE, LONG)]
        )
        assert main() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"003/{name}" in error
    assert "delete the folder" in error
    assert error.endswith("whole_training, and the variant is trained anew")


def test_inputs_that_are_refused_leave_the_training_before_as_it_is(warm: Path, tmp_path: Path) -> None:
    shutil.copytree(warm, tmp_path / "kept")
    out = tmp_path / "kept/whole"
    before = {path: path.read_bytes() for path in Path(f"{out}_training").rglob("*.*")}
    words = distill_arguments(warm / "slides.csv", out, warm / "warm", OBJECTIVE.model_copy(update={"intra": 3}), LONG)
    for refused in (("--first-prototypes", str(warm / "slides.csv")), ("--start", str(warm / "slides.csv"))):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["slpd", "distill_slpd", *words, *refused])
            assert main() == 2
        assert {path: path.read_bytes() for path in Path(f"{out}_training").rglob("*.*")} == before

"""Wherever tokens are, a batch gets those of its regions."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_training import (
    ENCODER,
    GRID,
    JOBS,
    N_REGIONS,
    TOKEN_WIDTH,
    TRAINING,
    pretrain_arguments,
    stage,
    train_variant,
    write_cohort,
)

from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import read_tokens
from slpd.errors import UserError
from slpd.settings.jobs import TokenPlace
from slpd.settings.load import load_experiment
from slpd.training import memory, token_store
from slpd.training.batches import own_regions, slot_shares
from slpd.training.token_store import open_token_store

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
R = sum(N_REGIONS.values())
BATCHES = [np.array([3, 20, 7]), np.array([21, 0, 9]), np.array([14, 3, 16]), np.array([1])]


def all_tokens(folder: Path) -> np.ndarray:
    return np.concatenate([read_tokens(folder / f"{slide}.h5") for slide in N_REGIONS]).reshape(
        R, GRID, GRID, TOKEN_WIDTH
    )


@pytest.mark.parametrize("place", ["device", "host", "disk", "auto"])
def test_batches_get_the_tokens_of_their_regions_in_order(tmp_path: Path, place: TokenPlace) -> None:
    cohort = open_cohort_tokens(write_cohort(tmp_path))
    own = np.setdiff1d(np.arange(R), [2, 5, 23])  # a process needs no others
    store = open_token_store(cohort, own, CPU, place, reserve=0)
    expected, fetched = all_tokens(tmp_path), list(store.fetch(BATCHES))
    assert len(fetched) == len(BATCHES)
    for (tokens, places), regions in zip(fetched, BATCHES, strict=True):
        assert np.array_equal(tokens[places].numpy(), expected[regions])


def test_a_reader_that_fails_is_heard(tmp_path: Path) -> None:
    """A token file that vanishes under a running job: the error comes with the batch, not as a hang."""
    cohort = open_cohort_tokens(write_cohort(tmp_path))
    store = open_token_store(cohort, np.arange(R), CPU, "disk", reserve=0)
    (tmp_path / "b.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.h5"):
        list(store.fetch(BATCHES))


def test_a_token_file_that_is_replaced_under_a_job_is_refused(tmp_path: Path) -> None:
    cohort = open_cohort_tokens(write_cohort(tmp_path))
    shutil.copy(tmp_path / "b.h5", tmp_path / "new.h5")
    (tmp_path / "new.h5").replace(tmp_path / "b.h5")
    store = open_token_store(cohort, np.arange(R), CPU, "disk", reserve=0)
    with pytest.raises(UserError, match=r"b\.h5: was changed while it was used"):
        list(store.fetch(BATCHES))


def test_processes_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = memory.free_bytes(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.free_bytes(CPU) == pytest.approx(alone / 4, rel=0.2)


def test_tokens_go_where_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = open_cohort_tokens(write_cohort(tmp_path))
    size = cohort.region_bytes * R
    assert size == R * GRID * GRID * TOKEN_WIDTH * 2
    caplog.set_level(logging.INFO)
    for free, described in (
        (2 * size, "in memory"),
        (1.5 * size, "in their files, read ahead"),
    ):  # 1.5 with the reserve
        monkeypatch.setattr(token_store, "free_bytes", lambda device, free=free: free)
        open_token_store(cohort, np.arange(R), CPU, "auto", reserve=size // 2)
        assert described in caplog.text


@pytest.mark.parametrize(
    ("membership", "folder", "limit", "used"),
    [
        ("0::/slurm/job_7/step_0\n", "slurm/job_7", "memory.max", "memory.current"),
        (
            "5:cpu,cpuacct:/other\n4:memory:/slurm/job_7/step_0\n",
            "memory/slurm/job_7",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    ],
)
def test_memory_that_a_queue_granted_is_known(
    tmp_path: Path, membership: str, folder: str, limit: str, used: str
) -> None:
    """Of control groups of both versions: of the step there is no limit, of the job around it there is."""
    (tmp_path / folder / "step_0").mkdir(parents=True)
    for group, most in ((folder, "1000\n"), (f"{folder}/step_0", "max\n")):
        (tmp_path / group / limit).write_text(most)
        (tmp_path / group / used).write_text("400\n")
    assert memory.group_limits(tmp_path, membership) == [600]


def test_free_memory_of_this_machine_is_a_number_of_bytes() -> None:
    assert 2**20 < memory.free_bytes(CPU) < 2**50


def test_where_tokens_are_and_how_many_go_at_once_changes_results_by_rounding_alone(tmp_path: Path) -> None:
    manifest, names = write_cohort(tmp_path), ("device", "disk")
    for place, at_once in zip(names, (None, 3), strict=True):
        jobs = JOBS.model_copy(update={"tokens": place, "regions_at_once": at_once})
        stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / f"{place}_warm", jobs=jobs))
        train_variant(manifest, tmp_path / place, tmp_path / f"{place}_warm", jobs=jobs)
    ours, theirs = (torch.load(tmp_path / f"{n}_warm.pt", weights_only=True)["learner"]["teacher"] for n in names)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_processes_share_out_the_whole_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every region is some process's, none two processes'; the slots of a batch are dealt out evenly."""
    shares = slot_shares(TRAINING.seed, 27, 8)
    assert sorted(shares[shares >= 0].tolist()) == list(range(27))
    assert set((shares >= 0).sum(axis=0).tolist()) == {3, 4}
    found = []
    for n_processes in (2, 4):
        for index in range(n_processes):
            monkeypatch.setattr("slpd.training.batches.n_processes", lambda n=n_processes: n)
            monkeypatch.setattr("slpd.training.batches.process_index", lambda i=index: i)
            found += own_regions(TRAINING, 27).tolist()
    assert sorted(found) == sorted(2 * list(range(27)))


def test_activations_are_held_for_as_many_regions_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    per_region = memory.activation_bytes(ENCODER, TRAINING)
    monkeypatch.setattr(memory, "free_bytes", lambda device: memory.STEP_BYTES + int(100 * per_region / memory.SHARE))
    gpu = torch.device("cuda")
    assert memory.regions_at_once(ENCODER, TRAINING, gpu, 512, None) == 64  # eight equal parts
    assert memory.regions_at_once(ENCODER, TRAINING, gpu, 64, None) == 64
    assert memory.regions_at_once(ENCODER, TRAINING, gpu, 64, 30) == 16
    assert memory.regions_at_once(ENCODER, TRAINING, gpu, 96, 50) == 48
    assert memory.regions_at_once(ENCODER, TRAINING, gpu, 106, 50) == 36  # 53 would not fit, 2 are few: 36, 36, 34


def test_a_cpu_takes_as_many_regions_as_fit_in_a_stated_memory_whatever_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight of the paper's network, all of a small one's: equal bytes on every machine."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1)
    paper = load_experiment(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    assert memory.regions_at_once(paper.region_encoder, paper.training, CPU, 512, None) == 8
    assert memory.regions_at_once(ENCODER, TRAINING, CPU, 512, None) == 512
    huge = ENCODER.model_copy(update={"width": 10**6})
    assert memory.regions_at_once(huge, TRAINING, CPU, 16, None) == 1

"""Defects of the released code, one test each, that this implementation must not have (docs/method.md lists them)."""

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
from numpy.typing import NDArray
from small_training import (
    ENCODER,
    FLOAT32,
    GRID,
    N_REGIONS,
    OBJECTIVE,
    TOKEN_WIDTH,
    TRAINING,
    pretrain_arguments,
    stage,
    train_variant,
    write_cohort,
)

from slpd.artifacts.slides.manifest import read_manifest, write_manifest
from slpd.method import slide_graph
from slpd.method.prototypes import unit
from slpd.method.schedules import StepRates
from slpd.method.slide_graph import link_slides
from slpd.settings.training import INTER, INTRA, SlideGraph
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.learner import Learner
from slpd.training.token_store import ResidentTokens

pytestmark = pytest.mark.torch

# The bias of keys has the gradient 0 but for rounding, which Adam blows up.
KEY_BIASES = {f"backbone.blocks.{i}.attn.qkv.bias" for i in range(ENCODER.depth)}
RATES = StepRates(learning_rate=0.01, weight_decay=0.1, teacher_momentum=0.9)


def draw(n_slides: int, n_prototypes: int) -> NDArray[np.float32]:
    return unit(np.random.default_rng(0).normal(size=(n_slides, n_prototypes, 16)).astype(np.float32))


def links(n: int) -> SlideGraph:
    return SlideGraph(n_neighbours=n, correspondence="nearest")


def test_ignored_slides_are_never_neighbours_even_where_all_kept_ones_are_less_similar() -> None:
    """Released: a similarity of 0 becomes -4, so ignored slides come in once kept ones run out or M is above 4."""
    prototypes = draw(6, 5)
    kept = np.array([True, True, False, True, False, False])
    prototypes[1], prototypes[3] = -prototypes[0], -prototypes[0]  # similarity near -5: far below that of zeros
    prototypes[~kept] = 0
    neighbours, _, correspondence = link_slides(prototypes, kept, links(5))
    assert {frozenset(row) for row in neighbours[kept].tolist()} == {
        frozenset({1, 3, -1}),
        frozenset({0, 3, -1}),
        frozenset({0, 1, -1}),
    }
    assert (neighbours[~kept] == -1).all()
    assert (correspondence[neighbours == -1] == -1).all()


def test_a_similarity_of_exactly_zero_is_a_similarity() -> None:
    """Released: demoted below every other, as if the slide were ignored."""
    axes = np.eye(16, dtype=np.float32)
    prototypes = np.stack([axes[:2], axes[2:4], -axes[:2]])  # similarities to slide 0: 0 and, at best, 0 - 0
    prototypes[2, 1] = -axes[0]  # now below 0
    neighbours, similarity, _ = link_slides(prototypes, np.ones(3, bool), links(2))
    assert neighbours[0].tolist() == [1, 2]
    assert similarity[0, 0] == 0 > similarity[0, 1]


def test_a_slide_is_never_its_own_neighbour_even_with_identical_twins() -> None:
    """Released: the first of the most similar is dropped as the slide itself; among twins that is any of them."""
    prototypes = np.repeat(draw(1, 4), 7, axis=0)
    neighbours, *_ = link_slides(prototypes, np.ones(7, bool), links(6))
    for slide, row in enumerate(neighbours):
        assert sorted(row) == [other for other in range(7) if other != slide]


def cohort_batches(kept: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None) -> Batches:
    """Batches of 16 random regions, of which `kept` have prototypes; None: plain DINO."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(16, GRID, GRID, TOKEN_WIDTH, generator=generator)
    batches = Batches(ResidentTokens(tokens, np.arange(16)), 16, ENCODER, TRAINING, GRID)
    if kept:
        vectors = torch.nn.functional.normalize(torch.randn(4, ENCODER.bottleneck, generator=generator), dim=-1)
        region = np.arange(16)
        rows = np.where(kept(region), region % 4, -1)[None]
        batches.prototypes = PrototypeTargets(
            dict.fromkeys((INTRA, INTER), vectors), dict.fromkeys((INTRA, INTER), rows), "bottleneck"
        )
    return batches


def first_step(batches: Batches) -> tuple[torch.Tensor, Learner]:
    """What the first step finds, and the learner after it."""
    learner = Learner(ENCODER, TRAINING, OBJECTIVE, TOKEN_WIDTH, FLOAT32, TRAINING.batch_size)
    return learner.step(next(batches.batches_from(0, 0)), RATES, False), learner


def test_a_batch_without_kept_regions_trains_as_plain_dino_would() -> None:
    """Released: the mean over no region is not a number, and the run ends."""
    steps = [first_step(cohort_batches(kept)) for kept in (lambda region: region < 0, None)]
    values, learners = zip(*steps, strict=True)
    torch.testing.assert_close(*values)
    assert values[0].isfinite().all()
    ours, theirs = (learner.student.state_dict() for learner in learners)
    for name in ours.keys() - KEY_BIASES:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6, msg=name)
    assert not learners[0].loss.prototype_centre.value.any()


TWO_PROCESSES = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_released_defects import cohort_batches, one_step
from slpd.method.processes import process_index
from slpd.training.devices import training_device
with training_device():
    state = one_step()
    if process_index() == 0:
        torch.save(state, sys.argv[2])
"""


def one_step() -> dict[str, torch.Tensor]:
    """The losses, the student and both centres after a step whose second half holds no kept region."""
    batches = cohort_batches(lambda region: region >= 0)
    second_half = batches.regions_of(0, 0)[TRAINING.batch_size // 2 :]
    batches = cohort_batches(lambda region: ~np.isin(region, second_half))
    values, learner = first_step(batches)
    return {"values": values, **learner.student.state_dict(), **learner.loss.state_dict()}


def test_a_process_without_kept_regions_agrees_with_the_others(tmp_path: Path) -> None:
    """Released: such a process leaves with an error and the others wait for ever; means are taken by local counts."""
    program = tmp_path / "two.py"
    program.write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    tests, root = Path(__file__).parent, Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{root}:{tests}"}
    subprocess.run([*torchrun, str(program), str(tests), str(tmp_path / "state.pt")], check=True, env=environment)
    two, one = torch.load(tmp_path / "state.pt", weights_only=True), one_step()
    assert one["prototype_centre.value"].any()
    for name in one.keys() - KEY_BIASES:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort and its warm-up."""
    folder = tmp_path_factory.mktemp("warm")
    stage("pretrain_dino", *pretrain_arguments(write_cohort(folder), folder / "warm"))
    return folder


def distill(folder: Path, out: Path, manifest: Path) -> None:
    """All iterations after the warm-up."""
    train_variant(manifest, out, folder / "warm")


def test_resuming_restores_both_centres_and_every_random_number(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Released: the prototype centre starts again at 0, and generators where they happen to be."""
    manifest, step, taken = warm / "slides.csv", Learner.step, []

    def stopped_after_the_first(*args: object) -> torch.Tensor:
        taken.append(0)
        if len(taken) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", stopped_after_the_first)
        with pytest.raises(SystemExit):
            distill(warm, tmp_path / "stopped", manifest)
        saved = torch.load(tmp_path / "stopped_training/state.pt", weights_only=True)["learner"]["loss"]
        assert saved["prototype_centre.value"].any()
        assert saved["self_centre.value"].any()
        np.random.default_rng(1).random(1000)
        torch.rand(1000)
        distill(warm, tmp_path / "stopped", manifest)
    assert len(taken) == TRAINING.n_iterations * (sum(N_REGIONS.values()) // TRAINING.batch_size)
    distill(warm, tmp_path / "undisturbed", manifest)
    for suffix in (".npz", ".safetensors", ".h5", ".csv"):
        ours, theirs = (tmp_path / f"{name}{suffix}" for name in ("stopped", "undisturbed"))
        assert ours.read_bytes() == theirs.read_bytes(), suffix


def test_the_order_of_slides_does_not_matter(warm: Path, tmp_path: Path) -> None:
    """Released: slides are array positions, in the order that a folder happened to be listed."""
    rows = read_manifest(warm / "slides.csv")
    shuffled = tmp_path / "slides.csv"
    write_manifest(shuffled, rows[::-1])
    stage("pretrain_dino", *pretrain_arguments(shuffled, tmp_path / "warm"))
    distill(tmp_path, tmp_path / "1", shuffled)
    distill(warm, tmp_path / "sorted", warm / "slides.csv")
    for suffix in (".npz", ".safetensors", ".h5"):
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"sorted{suffix}").read_bytes(), suffix


def test_sixteen_prototypes_cost_no_more_than_their_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Released: S x S x M! numbers, here 3e16. Ours: M x M cosines per pair, one assignment per pair at most."""
    n_slides, n_prototypes, solved = 40, 16, []
    solve = scipy.optimize.linear_sum_assignment

    def counted(cosines: NDArray[np.float64], maximize: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        solved.append(cosines.shape)
        return solve(cosines, maximize=maximize)

    monkeypatch.setattr(scipy.optimize, "linear_sum_assignment", counted)
    monkeypatch.setattr(slide_graph, "BLOCK_BYTES", 1)  # one slide at a time
    tracemalloc.start()
    link_slides(
        draw(n_slides, n_prototypes), np.ones(n_slides, bool), SlideGraph(n_neighbours=1, correspondence="matching")
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(solved) == {(n_prototypes, n_prototypes)}
    assert len(solved) <= n_slides * (n_slides - 1)
    assert peak < 10 * n_slides * n_prototypes**2 * 8  # bytes: the cosines of one slide with all, a few times

"""`distill_slpd`: iterations after `pretrain_dino`, from warm-up to bags, alone and in two processes."""

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch
from small_training import (
    ENCODER,
    N_REGIONS,
    OBJECTIVE,
    PROTOTYPES,
    SLIDE_GRAPH,
    TRAINING,
    distill_arguments,
    pretrain_arguments,
    stage,
    stop_at_every_step,
    write_cohort,
)

from slpd.__main__ import main
from slpd.artifacts.bags import read_bags
from slpd.artifacts.training_metrics import read_metrics
from slpd.settings.training import Prototypes

pytestmark = pytest.mark.torch

PLAIN = OBJECTIVE.model_copy(update={"intra": 0, "inter": 0})


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort, its warm-up `warm.*`, prototypes.npz and graph.npz."""
    folder = tmp_path_factory.mktemp("warm")
    stage("pretrain_dino", *pretrain_arguments(write_cohort(folder), folder / "warm"))
    cluster_and_link(folder, "warm")
    return folder


def cluster_and_link(folder: Path, name: str, of: Prototypes = PROTOTYPES) -> None:
    """Prototypes and graph of the embeddings `<name>.h5`."""
    prototypes, graph = str(folder / "prototypes.npz"), str(folder / "graph.npz")
    settings = of.model_dump_json()
    stage("cluster_regions", "--embeddings", str(folder / f"{name}.h5"), "--settings", settings, "--out", prototypes)
    stage("link_slides", "--prototypes", prototypes, "--settings", SLIDE_GRAPH.model_dump_json(), "--out", graph)


def inputs(folder: Path) -> list[str]:
    return ["--prototypes", str(folder / "prototypes.npz"), "--graph", str(folder / "graph.npz")]


def first_iteration(folder: Path, out: Path) -> list[str]:
    return distill_arguments(folder / "slides.csv", out, folder / "warm.pt", iteration=1) + inputs(folder)


def state(path: Path) -> dict[str, torch.Tensor]:
    learner = torch.load(path, weights_only=True)["learner"]
    return {
        f"{part}.{name}": tensor for part in ("student", "teacher", "loss") for name, tensor in learner[part].items()
    }


def test_from_warm_up_to_bags(warm: Path, tmp_path: Path) -> None:
    stage("distill_slpd", *first_iteration(warm, tmp_path / "1"))
    (epoch,) = read_metrics(tmp_path / "1.csv")
    assert epoch.epoch == TRAINING.dino_epochs + 1
    assert epoch.loss == pytest.approx(epoch.self_distillation + epoch.intra + 0.5 * epoch.inter, rel=1e-5)
    assert epoch.intra > 0 < epoch.inter
    arguments = distill_arguments(warm / "slides.csv", tmp_path / "2", tmp_path / "1.pt", iteration=2) + inputs(warm)
    stage("distill_slpd", *arguments)
    bags = tmp_path / "bags.h5"
    teacher = ("--teacher", str(tmp_path / "2.safetensors"))
    stage("embed_bags", "--manifest", str(warm / "slides.csv"), *teacher, "--out", str(bags))
    assert {slide: bag.shape for slide, bag in read_bags(bags).items()} == {
        slide: (n, ENCODER.width) for slide, n in N_REGIONS.items()
    }
    with h5py.File(bags) as file:
        assert file["coords"][:2].tolist() == [[0, 1], [2, 3]]


def test_without_prototype_terms_it_is_plain_dino(warm: Path, tmp_path: Path) -> None:
    """The variant `dino` takes no prototypes and ends where a longer warm-up would."""
    arguments = distill_arguments(warm / "slides.csv", tmp_path / "1", warm / "warm.pt", 1, PLAIN)
    stage("distill_slpd", *arguments)
    longer = TRAINING.model_copy(update={"dino_epochs": 3})
    stage("pretrain_dino", *pretrain_arguments(warm / "slides.csv", tmp_path / "longer", longer))
    ours, theirs = state(tmp_path / "1.pt"), state(tmp_path / "longer.pt")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("weights", [{"intra": 1, "inter": 0}, {"intra": 0, "inter": 1}])
def test_a_term_of_weight_zero_is_not_computed(warm: Path, tmp_path: Path, weights: dict[str, float]) -> None:
    """Neither its loss nor its share of the centre: the weight 0 means that the term is not there."""
    objective = OBJECTIVE.model_copy(update=weights)
    arguments = distill_arguments(warm / "slides.csv", tmp_path / "1", warm / "warm.pt", 1, objective)
    stage("distill_slpd", *arguments, *inputs(warm))
    (epoch,) = read_metrics(tmp_path / "1.csv")
    assert {"intra": epoch.intra > 0, "inter": epoch.inter > 0} == {term: bool(weights[term]) for term in weights}


def test_unfinished_work_on_other_prototypes_is_discarded(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed, then clustered anew with another seed: the iteration starts afresh on the new prototypes."""
    for name in ("slides.csv", "warm.pt", "warm.h5"):
        shutil.copy(warm / name, tmp_path)
    cluster_and_link(tmp_path, "warm")
    with monkeypatch.context() as patched:
        stop_at_every_step(patched)
        with pytest.raises(SystemExit):
            stage("distill_slpd", *first_iteration(tmp_path, tmp_path / "1"))
    cluster_and_link(tmp_path, "warm", PROTOTYPES.model_copy(update={"seed": 3, "n_prototypes": 2}))
    stage("distill_slpd", *first_iteration(tmp_path, tmp_path / "1"))
    assert "different in --graph" in caplog.text
    stage("distill_slpd", *first_iteration(tmp_path, tmp_path / "fresh"))
    assert (tmp_path / "1.pt").read_bytes() == (tmp_path / "fresh.pt").read_bytes()


def test_one_slide_with_prototypes_trains_without_the_inter_term(warm: Path, tmp_path: Path) -> None:
    for name in ("slides.csv", "warm.pt", "warm.h5"):
        shutil.copy(warm / name, tmp_path)
    cluster_and_link(tmp_path, "warm", PROTOTYPES.model_copy(update={"min_regions": max(N_REGIONS.values())}))
    stage("distill_slpd", *first_iteration(tmp_path, tmp_path / "1"))
    (epoch,) = read_metrics(tmp_path / "1.csv")
    assert epoch.inter == 0 < epoch.intra


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--iteration", "2"], "epochs trained (2 there, 3 here)"),
        (["--training", TRAINING.model_copy(update={"seed": 5}).model_dump_json()], "training.seed (0 there, 5 here)"),
        (["--iteration", "3"], "training has iterations 1 to 2"),
        (["--start", "slides.csv"], "cannot be read"),
        (["--prototypes", "slides.csv"], "cannot be read"),
    ],
)
def test_wrong_inputs_are_refused_by_name(
    arguments: list[str], message: str, warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(warm)
        patched.setattr(sys, "argv", ["slpd", "distill_slpd", *first_iteration(warm, tmp_path / "1"), *arguments])
        assert main() == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_changed_cohort_is_refused_by_slide(warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_cohort(tmp_path)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if not line.startswith("d,")) + "\n")
    arguments = distill_arguments(manifest, tmp_path / "1", warm / "warm.pt", iteration=1) + inputs(warm)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["slpd", "distill_slpd", *arguments])
        assert main() == 2
    assert "slide d (7 regions, tokens fingerprint- there, nothing here)" in capsys.readouterr().err


def test_two_processes_train_as_one(warm: Path, tmp_path: Path) -> None:
    stage("distill_slpd", *first_iteration(warm, tmp_path / "one"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "--", "slpd", "distill_slpd"]
    subprocess.run([*command, *first_iteration(warm, tmp_path / "two")], check=True)
    one, two = state(tmp_path / "one.pt"), state(tmp_path / "two.pt")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5, msg=name)
    first, second = (vars(read_metrics(tmp_path / f"{name}.csv")[0]) for name in ("one", "two"))
    assert second == pytest.approx(first, rel=1e-4)

"""`distill_slpd`: all iterations after `pretrain_dino`, from warm-up to bags, alone and in several processes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_training import (
    ENCODER,
    FLOAT32,
    GRID,
    JOBS,
    N_REGIONS,
    OBJECTIVE,
    PROTOTYPES,
    SLIDE_GRAPH,
    TOKEN_WIDTH,
    TRAINING,
    collect_arguments,
    distill_arguments,
    kill_after_saves,
    pretrain_arguments,
    stage,
    stop_at_every_step,
    train_variant,
    write_cohort,
)

from slpd.__main__ import main
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.learned.checkpoint import read_checkpoint
from slpd.artifacts.learned.cohort_prototypes import read_prototypes, write_prototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings, read_embeddings
from slpd.artifacts.learned.encoder_file import read_region_encoder
from slpd.artifacts.learned.iteration_history import read_iterations
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.method.prototypes import cluster_cohort
from slpd.method.schedules import make_schedules
from slpd.method.slide_graph import link_cohort
from slpd.training.batches import Batches
from slpd.training.embed import embed_regions
from slpd.training.learner import Learner
from slpd.training.renewal import Renewal, targets_of
from slpd.training.token_store import ResidentTokens
from slpd.versions import RESULT_VERSIONS

pytestmark = pytest.mark.torch

PLAIN = OBJECTIVE.model_copy(update={"intra": 0, "inter": 0})
OUTPUTS = (".safetensors", ".h5", ".csv", ".npz")
R = sum(N_REGIONS.values())


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort and its warm-up `warm.*`."""
    folder = tmp_path_factory.mktemp("warm")
    stage("pretrain_dino", *pretrain_arguments(write_cohort(folder), folder / "warm"))
    return folder


def arguments(warm: Path, out: Path, **changes: object) -> list[str]:
    return distill_arguments(warm / "slides.csv", out, warm / "warm", **changes)  # type: ignore[arg-type]


def train(warm: Path, out: Path, **changes: object) -> None:
    train_variant(warm / "slides.csv", out, warm / "warm", **changes)  # type: ignore[arg-type]


def assert_equal_outputs(first: Path, second: Path) -> None:
    for suffix in OUTPUTS:
        assert Path(f"{first}{suffix}").read_bytes() == Path(f"{second}{suffix}").read_bytes(), suffix


def test_iterations_in_one_job_are_those_of_its_parts_one_by_one(warm: Path, tmp_path: Path) -> None:
    """Embed, cluster, link, train two steps; and again, from the teacher as it is then."""
    train(warm, tmp_path / "job")
    cohort = open_cohort_tokens(warm / "slides.csv")
    (tokens,) = [np.concatenate([values for _, values in cohort.by_slide(np.arange(R))])]
    store = ResidentTokens(torch.from_numpy(tokens), np.arange(R))
    learner = Learner(ENCODER, TRAINING, OBJECTIVE, TOKEN_WIDTH, FLOAT32, 4)
    learner.load_state_dict(read_checkpoint(warm / "warm.pt", learner.device)["learner"])
    batches = Batches(store, R, ENCODER, TRAINING, GRID)
    schedules = make_schedules(TRAINING, batches.per_epoch)
    written = read_iterations(tmp_path / "job.npz")
    for iteration, epoch in enumerate((2, 3)):
        crop = TRAINING.global_crop
        vectors = embed_regions(learner.teacher.embed, ENCODER.width, store, np.arange(R), cohort, crop)
        bottleneck = vectors[:, ENCODER.width :]
        embeddings = CohortEmbeddings(bottleneck, vectors[:, : ENCODER.width], cohort.offsets, cohort.slides)
        prototypes = cluster_cohort(embeddings, PROTOTYPES)
        graph = link_cohort(prototypes, SLIDE_GRAPH)
        batches.prototypes = targets_of(Renewal(prototypes, graph), OBJECTIVE, learner.device)
        for step, batch in enumerate(batches.batches_from(epoch, 0)):
            learner.step(batch, schedules.at(epoch * batches.per_epoch + step), freeze_last_layer=False)
        assert written.assignments[iteration].tolist() == prototypes.assignments.tolist()
        assert written.neighbours[iteration].tolist() == graph.neighbours.tolist()
    weights, _ = read_region_encoder(tmp_path / "job.safetensors")
    for name, tensor in learner.teacher.backbone.state_dict().items():
        np.testing.assert_allclose(weights[name], tensor.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_from_warm_up_to_bags_and_slide_graph(warm: Path, tmp_path: Path) -> None:
    train(warm, tmp_path / "1")
    metrics = read_metrics(tmp_path / "1.csv")
    assert [epoch.epoch for epoch in metrics] == [3, 4]
    for epoch in metrics:
        own, intra, inter = (epoch.terms[name] for name in ("self_distillation", "intra", "inter"))
        assert epoch.loss == pytest.approx(own + intra + 0.5 * inter, rel=1e-5)
        assert intra > 0 < inter
    bags = tmp_path / "bags.h5"
    teacher = ("--teacher", str(tmp_path / "1.safetensors"))
    stage("embed_bags", "--manifest", str(warm / "slides.csv"), *teacher, "--out", str(bags))
    assert {slide: bag.shape for slide, bag in read_bags(bags).items()} == {
        slide: (n, ENCODER.width) for slide, n in N_REGIONS.items()
    }
    with h5py.File(bags) as file:
        assert file["coords"][:2].tolist() == [[0, 1], [2, 3]]
    prototypes, graph = tmp_path / "prototypes.npz", tmp_path / "graph.npz"
    settings = ("--settings", PROTOTYPES.model_dump_json(), "--out", str(prototypes))
    stage("cluster_regions", "--embeddings", str(tmp_path / "1.h5"), *settings)
    settings = ("--settings", SLIDE_GRAPH.model_dump_json(), "--out", str(graph))
    stage("link_slides", "--prototypes", str(prototypes), *settings)
    assert read_prototypes(prototypes).kept.tolist() == [True, True, False, True]
    assert set(read_slide_graph(graph).neighbours[:, 0]) <= {-1, 0, 1, 3}


def test_it_starts_from_the_prototypes_of_the_warm_up_s_embeddings(warm: Path, tmp_path: Path) -> None:
    train(warm, tmp_path / "1")
    settings = ("--settings", PROTOTYPES.model_dump_json(), "--out", str(tmp_path / "prototypes.npz"))
    stage("cluster_regions", "--embeddings", str(warm / "warm.h5"), *settings)
    expected = read_prototypes(tmp_path / "prototypes.npz").assignments
    assert read_iterations(tmp_path / "1.npz").assignments[0].tolist() == expected.tolist()


def test_without_prototype_terms_it_is_plain_dino_wherever_the_warm_up_ends(warm: Path, tmp_path: Path) -> None:
    train(warm, tmp_path / "1", objective=PLAIN)
    longer = TRAINING.model_copy(update={"dino_epochs": 3})
    stage("pretrain_dino", *pretrain_arguments(warm / "slides.csv", tmp_path / "longer", longer))
    train_variant(warm / "slides.csv", tmp_path / "2", tmp_path / "longer", PLAIN, longer)
    for suffix in (".safetensors", ".h5"):
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()
    assert read_iterations(tmp_path / "1.npz").assignments.shape == (0, R)


@pytest.mark.parametrize("weights", [{"intra": 1, "inter": 0}, {"intra": 0, "inter": 1}])
def test_a_term_of_weight_zero_is_not_computed(warm: Path, tmp_path: Path, weights: dict[str, float]) -> None:
    """Neither its loss nor its share of the centre: the weight 0 means that the term is not there."""
    train(warm, tmp_path / "1", objective=OBJECTIVE.model_copy(update=weights))
    epoch, _ = read_metrics(tmp_path / "1.csv")
    assert {name: epoch.terms[name] > 0 for name in weights} == {name: bool(weight) for name, weight in weights.items()}


def test_a_cohort_with_one_slide_of_prototypes_has_no_inter_term(warm: Path, tmp_path: Path) -> None:
    one = PROTOTYPES.model_copy(update={"min_regions": max(N_REGIONS.values())})
    train(warm, tmp_path / "1", prototypes=one)
    assert all(epoch.terms["inter"] == 0 < epoch.terms["intra"] for epoch in read_metrics(tmp_path / "1.csv"))


def test_killed_at_any_moment_and_started_again(warm: Path, tmp_path: Path) -> None:
    """Saved after every step, killed by SIGKILL a few times in different iterations: the same bytes in the end."""
    long = TRAINING.model_copy(update={"epochs": 26, "epochs_per_iteration": 3})
    stage("pretrain_dino", *pretrain_arguments(warm / "slides.csv", tmp_path / "warm", long))
    changes = (OBJECTIVE, long, JOBS.model_copy(update={"checkpoint_minutes": 1e-9}))
    train_variant(warm / "slides.csv", tmp_path / "undisturbed", tmp_path / "warm", *changes)
    killed = distill_arguments(warm / "slides.csv", tmp_path / "killed", tmp_path / "warm", *changes)
    state, result = tmp_path / "killed_training/state.pt", tmp_path / "killed_last.h5"
    kill_after_saves("distill_slpd", killed, state, result, times=3)
    train_variant(warm / "slides.csv", tmp_path / "killed", tmp_path / "warm", *changes)
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "killed")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_training_resumes_after_any_step(
    warm: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an iteration, at its end, in the next: no step is taken twice, no iteration renewed twice."""
    taken, renewals = [], []
    monkeypatch.setattr(Learner, "step", counting(Learner.step, taken))
    monkeypatch.setattr("slpd.training.renewal.find_prototypes", counting(cluster_cohort, renewals))
    with monkeypatch.context() as patched:
        stop_at_every_step(patched, after=steps)
        with pytest.raises(SystemExit):
            train(warm, tmp_path / "stopped")
    assert len(taken) == steps
    train(warm, tmp_path / "stopped")
    assert (len(taken), len(renewals)) == (2 * (R // TRAINING.batch_size), 2)
    train(warm, tmp_path / "undisturbed")
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "stopped")


def counting(function: object, calls: list[int]) -> object:
    def counted(*args: object) -> object:
        calls.append(0)
        return function(*args)  # type: ignore[operator]

    return counted


def test_unfinished_work_on_other_prototypes_is_refused(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        stop_at_every_step(patched)
        with pytest.raises(SystemExit):
            train(warm, tmp_path / "1")
    weighted = OBJECTIVE.model_copy(update={"inter": 0.7})
    other = {"prototypes": PROTOTYPES.model_copy(update={"seed": 3, "n_prototypes": 2}), "objective": weighted}
    train(warm, tmp_path / "1", **other)
    differing = "objective.inter (0.5 there, 0.7 here), prototypes.n_prototypes (3 there, 2 here), prototypes.seed (0"
    assert f"different in {differing}" in caplog.text
    train(warm, tmp_path / "fresh", **other)
    assert_equal_outputs(tmp_path / "fresh", tmp_path / "1")


def test_asked_to_stop_while_prototypes_are_renewed(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops as soon as they are there; the next start makes none of them again."""
    renewals: list[int] = []

    def clustered(*args: object) -> object:
        renewals.append(0)
        if len(renewals) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return cluster_cohort(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("slpd.training.renewal.find_prototypes", clustered)
    with pytest.raises(SystemExit):
        train(warm, tmp_path / "stopped")
    assert len(renewals) == 2
    train(warm, tmp_path / "stopped")
    assert len(renewals) == 2
    train(warm, tmp_path / "undisturbed")
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "stopped")


def test_unfinished_work_of_another_result_version_is_refused(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        stop_at_every_step(patched)
        patched.setitem(RESULT_VERSIONS, "distill_slpd", 0)
        with pytest.raises(SystemExit):
            train(warm, tmp_path / "1")
    train(warm, tmp_path / "1")
    assert "different in result version of distill_slpd (0 there" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--training", TRAINING.model_copy(update={"seed": 5}).model_dump_json()], "training.seed (0 there, 5 here)"),
        (["--start", "slides.csv"], "cannot be read"),
        (["--start", "nowhere.pt"], "nowhere.pt"),
        (["--first-prototypes", "slides.csv"], "slides.csv: cannot be read"),
        (["--first", "2", "--until", "2"], "--first is 2, --until 2"),
        (["--until", "3"], "until <= 2 iterations"),
        (["--prototypes"], "--prototypes is missing"),
        (["--slide-graph"], "--slide-graph is missing"),
    ],
)
def test_wrong_inputs_are_refused_by_name(
    change: list[str], message: str, warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(warm)
        patched.setattr(sys, "argv", ["slpd", "distill_slpd", *arguments(warm, tmp_path / "1"), *change])
        assert main() == (1 if message == "nowhere.pt" else 2)  # what is not there now may be at the next try
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_changed_cohort_is_refused_by_slide(warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_cohort(tmp_path)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if not line.startswith("d,")) + "\n")
    with pytest.MonkeyPatch.context() as patched:
        command = distill_arguments(manifest, tmp_path / "1", warm / "warm")
        patched.setattr(sys, "argv", ["slpd", "distill_slpd", *command])
        assert main() == 2
    assert "slide d (7 regions, tokens fingerprint- there, nothing here)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slides": ["x", "b", "c", "d"]}, "prototypes of other slides or regions"),
        ({"offsets": np.array([0, 5, 15, 17, 24])}, "prototypes of other slides or regions"),
        (
            {"prototypes": np.zeros((4, 2, 8), np.float32)},
            "2 prototypes a slide of bottleneck, but the config asks for 3",
        ),
        ({"features": "region_vector"}, "of region_vector, but the config asks for 3 of bottleneck"),
    ],
)
def test_given_prototypes_that_do_not_fit_are_refused(
    change: dict[str, object], message: str, warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = replace(cluster_cohort(read_embeddings(warm / "warm.h5"), PROTOTYPES), **change)  # type: ignore[arg-type]
    write_prototypes(tmp_path / "given.npz", content)
    with pytest.MonkeyPatch.context() as patched:
        given = ("--first-prototypes", str(tmp_path / "given.npz"))
        patched.setattr(sys, "argv", ["slpd", "distill_slpd", *arguments(warm, tmp_path / "1"), *given])
        assert main() == (1 if message == "nowhere.pt" else 2)  # what is not there now may be at the next try
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "given.npz" in error
    assert message in error
    assert "run cluster_regions again" in error


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_as_one(warm: Path, tmp_path: Path, processes: int) -> None:
    """Each with its own share of the tokens; two batches of eight regions, prototypes renewed in between."""
    train(warm, tmp_path / "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run([*torchrun, "-m", "--", "slpd", "distill_slpd", *arguments(warm, tmp_path / "many")], check=True)
    stage("collect_iterations", *collect_arguments(tmp_path / "many"))
    one, many = (read_region_encoder(tmp_path / f"{name}.safetensors")[0] for name in ("one", "many"))
    for name in one:
        np.testing.assert_allclose(many[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
    first, second = (read_metrics(tmp_path / f"{name}.csv") for name in ("one", "many"))
    for ours, theirs in zip(second, first, strict=True):
        assert ours.columns() == pytest.approx(theirs.columns(), rel=1e-4, abs=1e-6)
    ours, theirs = (read_iterations(tmp_path / f"{name}.npz") for name in ("many", "one"))
    assert ours.assignments.tolist() == theirs.assignments.tolist()


def test_a_variant_may_renew_more_rarely_than_the_warm_up_knew(warm: Path, tmp_path: Path) -> None:
    rarely = TRAINING.model_copy(update={"epochs_per_iteration": 2})
    train(warm, tmp_path / "1", training=rarely)
    assert len(read_iterations(tmp_path / "1.npz").assignments) == 1
    assert len(read_metrics(tmp_path / "1.csv")) == 2


def test_the_last_iteration_takes_what_epochs_are_left(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    odd = TRAINING.model_copy(update={"epochs": 5, "epochs_per_iteration": 2})
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm", odd))
    train_variant(manifest, tmp_path / "1", tmp_path / "warm", OBJECTIVE, odd)
    assert len(read_iterations(tmp_path / "1.npz").assignments) == odd.n_iterations == 2
    assert [epoch.epoch for epoch in read_metrics(tmp_path / "1.csv")] == [3, 4, 5]


def test_prototypes_of_the_whole_cohort_are_trained_on(warm: Path, tmp_path: Path) -> None:
    """Also slides with few regions take part: no slide is too small."""
    together = PROTOTYPES.model_copy(update={"level": "cohort"})
    intra = OBJECTIVE.model_copy(update={"inter": 0})
    train(warm, tmp_path / "1", objective=intra, prototypes=together)
    assert all(epoch.terms["intra"] > 0 for epoch in read_metrics(tmp_path / "1.csv"))
    assert (read_iterations(tmp_path / "1.npz").assignments >= 0).all()


TWO_PROCESSES = """
import os, signal, sys
from slpd.__main__ import main
from slpd.training.learner import Learner
what = sys.argv.pop(1)
step, taken = Learner.step, []
def stop(*args):
    taken.append(0)
    if what == "stop" and len(taken) == 2 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return step(*args)
Learner.step = stop
if what == "slow" and os.environ["RANK"] == "0":  # a warning before the limit, then a save that takes a while
    import time
    from slpd.training import loop, resume
    save = resume.ResumeFile.save
    def slow(*args, **words):
        time.sleep(5)
        save(*args, **words)
        print("saved", flush=True)
    resume.ResumeFile.save = slow
    loop.start_again = lambda: print("started again", flush=True)
    def warned(*args):
        taken.append(0)
        if len(taken) == 2:
            os.kill(os.getpid(), signal.SIGUSR2)
        return step(*args)
    Learner.step = warned
if what == "blind" and os.environ["RANK"] == "1":
    from slpd.training import resume
    resume.ResumeFile.note = lambda self, progress: setattr(self, "holds", "another file")
sys.exit(main())
"""


def in_two_processes(folder: Path, what: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A stage under torchrun, something done to the second of two processes."""
    program = folder / "two.py"
    program.write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "--", str(program), what, "distill_slpd", *words]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_one_of_two_processes_is_asked_to_stop_and_both_go_on_there(warm: Path, tmp_path: Path) -> None:
    words = arguments(warm, tmp_path / "stopped")
    stopped = in_two_processes(tmp_path, "stop", *words)
    assert stopped.returncode != 0
    assert "stopped by a signal" in stopped.stderr, stopped.stderr
    saved = torch.load(tmp_path / "stopped_training/state.pt", weights_only=True)["progress"]
    assert (saved["epoch"], len(saved["steps"])) == (2, 2)
    blind = in_two_processes(tmp_path, "blind", *words)  # another node that sees another file
    assert blind.returncode != 0
    assert "processes see different files" in blind.stderr
    assert in_two_processes(tmp_path, "nothing", *words).returncode == 0
    assert in_two_processes(tmp_path, "nothing", *arguments(warm, tmp_path / "undisturbed")).returncode == 0
    for name in ("stopped", "undisturbed"):
        stage("collect_iterations", *collect_arguments(tmp_path / name))
    assert_equal_outputs(tmp_path / "undisturbed", tmp_path / "stopped")


def test_no_process_ends_before_the_first_has_saved_and_asked_for_a_new_start(warm: Path, tmp_path: Path) -> None:
    """At the first end of a process torchrun ends the others."""
    stopped = in_two_processes(tmp_path, "slow", *arguments(warm, tmp_path / "slow"))
    assert stopped.stdout.split("\n")[-3:-1] == ["saved", "started again"], stopped.stderr
    assert "exitcode  : 143" in stopped.stderr

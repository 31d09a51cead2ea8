"""Stages that use a GPU, run whole by their command lines on a device that computes nothing: what they ask of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_training import ENCODER, GRID, N_REGIONS, TOKEN_WIDTH, TRAINING
from test_attend_patches import write_teacher

from benchmarks.null_cuda import build, environment
from benchmarks.roofline import on_null_device
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.learned.embeddings import read_embeddings
from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.artifacts.learned.training_metrics import read_metrics

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc compiles the device and its kernels"),
]
R = sum(N_REGIONS.values())
TOKEN_BYTES = R * GRID**2 * TOKEN_WIDTH * 2  # of the cohort
SMALL_CARD = 8_200_000_000  # bytes
Counts = dict[str, list[float]]  # name -> times, amount

# The device computes nothing, so no loss or vector is finite: losses are not checked, and where vectors would be, drawn
# ones take their place. Between two batches of tokens it is noted what happened: a pass has one entry per batch.
PRELUDE = """
import json, os, sys
from pathlib import Path
import numpy as np
import torch
import small_training
from benchmarks.null_cuda import counted
from slpd.stages import attend_patches, embed_bags
from slpd.training import loop
from slpd.training.token_store import StagedTokens

torch.backends.cuda.enable_cudnn_sdp(False)  # the device has no cuDNN
loop.Trainer.check_losses = lambda trainer, progress: None
generator = np.random.default_rng(0)

def draw(vectors, cohort, first=0):
    vectors[:] = generator.normal(size=vectors.shape)

for module in (loop, embed_bags, attend_patches):
    module.refuse_infinite_vectors = draw

passes, fetch = [], StagedTokens.fetch

def so_far():
    return {entry.name: np.array([entry.times, entry.amount]) for entry in counted()}

def noted_fetch(store, batches):  # without a reset, which would lose what another thread sends meanwhile
    noted, before = [], so_far()
    passes.append(noted)
    for tokens in fetch(store, batches):
        yield tokens
        now = so_far()
        since = {name: (now[name] - before.get(name, 0)).tolist() for name in now}
        noted.append({name: [times, amount] for name, (times, amount) in since.items() if times})
        before = now

StagedTokens.fetch = noted_fetch

def run(name, *arguments):
    passes.clear()
    small_training.stage(name, *arguments)
    print(json.dumps([name, passes]), flush=True)

folder = Path(sys.argv[1])
manifest = small_training.write_cohort(folder)
"""

# Three epochs of three steps each; heads of 32, which our kernels of attention take; regions in three parts.
TRAIN = """
from small_training import JOBS, TRAINING, collect_arguments, distill_arguments, pretrain_arguments
small_training.ENCODER = small_training.ENCODER.model_copy(update={"width": 64})
training = TRAINING.model_copy(update={"dino_epochs": 3, "epochs": 6})
disk, host = (JOBS.model_copy(update={"regions_at_once": 3, "tokens": place}) for place in ("disk", "host"))
run("pretrain_dino", *pretrain_arguments(manifest, folder / "warm", training, disk))
run("pretrain_dino", *pretrain_arguments(manifest, folder / "from_host", training, host))
run("distill_slpd", *distill_arguments(manifest, folder / "slpd", folder / "warm", training=training, jobs=host))
run("collect_iterations", *collect_arguments(folder / "slpd", training=training))
os._exit(0)
"""

EMBED = """
given = ("--manifest", str(manifest), "--teacher", sys.argv[2])
run("embed_bags", *given, "--out", str(folder / "bags.h5"))
run("attend_patches", *given, "--out", str(folder / "attention.h5"))
os._exit(0)
"""

Passes = list[list[Counts]]


def on_device(script: str, folder: Path, *arguments: str, **variables: str) -> str:
    """What a script says that is run on the device."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environ = {**environment(build(folder / "device")), "PYTHONPATH": path, **variables}
    command = [sys.executable, "-c", script, str(folder), *arguments]
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout


def stages_run(script: str, folder: Path, *arguments: str) -> list[tuple[str, Passes]]:
    """The stages that a script runs, with the passes of each over its tokens."""
    lines = on_device(PRELUDE + script, folder, *arguments).splitlines()
    return [tuple(json.loads(line)) for line in lines if line.startswith("[")]


def times(batch: Counts, kind: str) -> float:
    return sum(n for name, (n, _) in batch.items() if name.startswith(kind))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(folder: Path) -> list[tuple[str, Passes]]:
    return stages_run(TRAIN, folder)


@pytest.fixture(scope="module")
def embedded(folder: Path) -> list[tuple[str, Passes]]:
    """In a process of their own, where no training has chosen kernels of attention."""
    return stages_run(EMBED, folder, str(write_teacher(folder / "drawn.safetensors")))


def epochs_of(passes: Passes) -> Passes:
    return [noted for noted in passes if len(noted) == R // TRAINING.batch_size]


def embeddings_of(passes: Passes) -> Passes:
    return [noted for noted in passes if len(noted) == 1]


def test_stages_go_over_the_tokens_as_often_as_they_must(
    trained: list[tuple[str, Passes]], embedded: list[tuple[str, Passes]]
) -> None:
    """A training's three epochs, and its embedding at the end; that of prototypes also before each iteration."""
    ran = [(name, len(epochs_of(passes)), len(embeddings_of(passes))) for name, passes in trained + embedded]
    assert ran == [
        ("pretrain_dino", 3, 1),
        ("pretrain_dino", 3, 1),
        ("distill_slpd", 3, 4),
        ("collect_iterations", 0, 0),
        ("embed_bags", 0, 1),
        ("attend_patches", 0, 1),
    ]


def test_tokens_come_from_page_locked_memory_alone(
    trained: list[tuple[str, Passes]], embedded: list[tuple[str, Passes]]
) -> None:
    for name, passes in trained + embedded:
        for noted in passes:
            assert sum(times(batch, "copy pageable") for batch in noted) == 0, name
            sent = [amount for batch in noted for what, (_, amount) in batch.items() if "pinned to device" in what]
            assert sum(sent) >= TOKEN_BYTES, name


def test_steps_are_recorded_and_then_never_wait(trained: list[tuple[str, Passes]]) -> None:
    """From the fourth on a step is two graphs; the last of an epoch reports, which waits."""
    for name, passes in trained[:3]:
        steps = [batch for noted in epochs_of(passes) for batch in noted]
        assert [times(batch, "launch of a graph") for batch in steps] == [0] * 3 + [2] * 6, name
        assert [times(steps[n], "wait") for n in (4, 6, 7)] == [0] * 3, name


def test_an_embedding_waits_once_a_batch(trained: list[tuple[str, Passes]], embedded: list[tuple[str, Passes]]) -> None:
    """For its result."""
    for name, passes in trained + embedded:
        assert [times(batch, "wait") for noted in embeddings_of(passes) for batch in noted] == [1] * len(
            embeddings_of(passes)
        ), name


def test_training_is_compiled_with_our_attention(trained: list[tuple[str, Passes]]) -> None:
    _, (first, *_) = trained[0]
    names = {name for batch in first for name in batch}
    assert {"compiled kernel forward_kernel", "compiled kernel backward_kernel"} <= names
    assert any(name.startswith("compiled kernel triton_") for name in names)


def test_recordings_leave_nothing_out(trained: list[tuple[str, Passes]]) -> None:
    """Meanwhile the next batch may be sent, on a stream of its own."""
    for stage, passes in trained:
        for batch in (batch for noted in passes for batch in noted):
            left_out = {name for name in batch if name.startswith("not recorded")}
            assert left_out <= {"not recorded copy pinned to device, not waited for"}, stage


def test_stages_write_what_they_make(trained: list[tuple[str, Passes]], embedded: list[Any], folder: Path) -> None:
    width = 64
    for name in ("warm", "from_host", "slpd"):
        embeddings = read_embeddings(folder / f"{name}.h5")
        assert embeddings.bottleneck.shape == (R, ENCODER.bottleneck)
        assert embeddings.region_vector.shape == (R, width)
        assert len(read_metrics(folder / f"{name}.csv")) == 3
    bags = read_bags(folder / "bags.h5")
    assert {slide: bag.shape for slide, bag in bags.items()} == {s: (n, ENCODER.width) for s, n in N_REGIONS.items()}
    with open_patch_attention(folder / "attention.h5") as found:
        assert found.attention.shape == (R, ENCODER.heads, GRID**2)


LEAVING = """
import os, torch
from benchmarks.null_cuda import counted, reset
x, other, graph = torch.zeros(8, device="cuda"), torch.cuda.Stream(), torch.cuda.CUDAGraph()
reset()
with torch.cuda.graph(graph):
    x + 1
    with torch.cuda.stream(other):
        x + 1
        x.view(1, 8) @ x.view(8, 1)
seen = counted()
for kind in ("recorded kernel", "not recorded kernel", "not recorded product"):
    print(sum(entry.times for entry in seen if entry.name.startswith(kind)), flush=True)
os._exit(0)
"""


def test_work_that_a_recording_leaves_out_is_seen(tmp_path: Path) -> None:
    assert on_device(LEAVING, tmp_path).split() == ["1", "1", "1"]


def test_training_plans_for_a_small_card_and_stays_within_it() -> None:
    """The paper's batch and networks in half precision on 8 GB, with the recordings of a step."""
    arguments = ("--batch", "512", "--eager", "--planned")
    step = on_null_device("benchmarks.roofline", *arguments, NULL_CUDA_BYTES=str(SMALL_CARD))
    assert 32 <= step["regions_at_once"] < 512
    assert step["peak_bytes"] <= step["planned_bytes"] < SMALL_CARD
    assert step["replayed_graph_launches"] == 2
    assert step["left_out"] == 0


def test_the_patch_encoder_fits_a_small_card() -> None:
    """ViT-S/16 on regions of 4096 px, as many patches at a time as `config/config.yaml` says."""
    arguments = ("--region-px", "4096", "--batch-patches", "256")
    report = on_null_device("benchmarks.encoder_launches", *arguments, NULL_CUDA_BYTES=str(SMALL_CARD))
    assert max(report[way]["peak_bytes"] for way in ("pageable", "page_locked", "on_device")) < 0.25 * SMALL_CARD


FITS = """
import os, sys
import numpy as np
import torch
from benchmarks.training import GRID, TOKEN_WIDTH, settings
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.models.network import Network
from slpd.training import embed
from slpd.training.token_store import StagedTokens

n, device = 6000, torch.device("cuda", 0)
cohort = CohortTokens([""], np.array([0, n]), [""], [], [], [], GRID, TOKEN_WIDTH)
store = StagedTokens(lambda regions, out: None, cohort, device)  # values do not matter
for width in (192, 384, 768):
    encoder = settings(512)[0].model_copy(update={"width": width, "heads": width // 32})
    network = Network(encoder, TOKEN_WIDTH).to(device)
    for encode in (network.backbone, network.backbone.class_attention, network.embed):
        size = embed.batch_size(device, cohort, width)
        torch.cuda.reset_peak_memory_stats()
        free = torch.cuda.mem_get_info()[0]
        held = torch.cuda.memory_reserved()
        for vectors in embed.embed_in_batches(encode, width, store, np.arange(n), cohort, GRID):
            pass
        print(width, size, (torch.cuda.max_memory_reserved() - held) / free, flush=True)
    del network, encode
os._exit(0)
"""


@pytest.mark.parametrize(("card", "sizes"), [(SMALL_CARD, [1024, 512, 256]), (3_000_000_000, [256, 128, 64])])
def test_embedding_takes_as_many_regions_as_fit(tmp_path: Path, card: int, sizes: list[int]) -> None:
    """Of the paper's region encoder, and of wider ones: 1,024, halved until they fit, but no smaller than need be."""
    lines = [line.split() for line in on_device(FITS, tmp_path, NULL_CUDA_BYTES=str(card)).splitlines()]
    assert [int(size) for _, size, _ in lines] == [size for size in sizes for _ in range(3)]
    for _, _, share in lines:
        assert float(share) <= 0.8
    for whole_grid in (line for n, line in enumerate(lines) if n % 3 < 2):
        assert float(whole_grid[2]) > 0.35

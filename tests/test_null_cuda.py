"""Torch's CUDA path on a device that computes nothing: what a step and an encoder ask of a GPU, without one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from benchmarks.null_cuda import Counted, build, environment
from benchmarks.roofline import is_misaligned, on_null_device
from benchmarks.training import settings

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc compiles the device and its kernels"),
]
BATCH, DEPTH = 64, 2  # regions; blocks: every kind of kernel, few of each


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """A step as it is trained: bfloat16, networks and loss compiled for an H100."""
    return on_null_device("benchmarks.roofline", "--batch", str(BATCH), "--depth", str(DEPTH))


@pytest.fixture(scope="module")
def warm_up() -> dict[str, Any]:
    """A compiled step before there are prototypes."""
    return on_null_device("benchmarks.roofline", "--batch", "8", "--depth", "1", "--warm-up")


@pytest.fixture(scope="module", params=["bfloat16", "float16", "float32", "parts", "masked"])
def eager(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A step where nothing can be compiled, in every precision, in parts, and with absent patches."""
    others = {"parts": ["--parts", "2"], "masked": ["--masked"]}
    how = others.get(request.param, ["--dtype", request.param])
    report = on_null_device("benchmarks.roofline", "--batch", str(BATCH), "--depth", str(DEPTH), "--eager", *how)
    return report | {"in_half": request.param not in ("float16", "float32")}  # float16's loss is in float32


def test_a_step_never_makes_the_host_wait(compiled: dict[str, Any]) -> None:
    assert (compiled["waits"], compiled["pageable_copies"]) == (0, 0)


def test_a_replayed_step_costs_the_host_little(compiled: dict[str, Any]) -> None:
    """One launch each of the teacher's and of the student's share; views, targets and the optimiser besides."""
    assert (compiled["replayed_waits"], compiled["replayed_pageable_copies"]) == (0, 0)
    assert compiled["replayed_graph_launches"] == 2
    assert compiled["replayed_launches"] <= 150


def test_networks_and_loss_compile_whole_and_once(compiled: dict[str, Any]) -> None:
    """The student for two sizes of views, the teacher for one, the loss for targets without and with prototypes."""
    assert (compiled["graph_breaks"], compiled["graphs"]) == (0, 5)
    assert compiled["compiled_launches"] > 100


def test_before_prototypes_nothing_is_compiled_but_what_was_tried(warm_up: dict[str, Any]) -> None:
    """What a step had to compile itself would end training where it fails, instead of going on without."""
    assert (warm_up["graph_breaks"], warm_up["graphs"]) == (0, 4)


def test_a_step_launches_few_kernels(compiled: dict[str, Any]) -> None:
    """A launch costs the host some 5 µs: the paper's six blocks must stay below the time of its step.

    One more for each of the 37 tensors that are trained here would be too many.
    """
    assert compiled["launches"] <= 600


def test_large_products_have_aligned_rows(compiled: dict[str, Any]) -> None:
    assert compiled["unknown_products"] == 0
    assert compiled["misaligned_products"] == 0


def test_large_products_are_in_half_precision(compiled: dict[str, Any]) -> None:
    assert compiled["float32_products"] == 0


def test_a_step_stays_within_the_memory_that_is_planned_for_it(compiled: dict[str, Any]) -> None:
    """Activations within theirs, of which they take half or more, and what stays between steps within its own."""
    assert compiled["kept_bytes"] <= compiled["planned_kept_bytes"]
    planned = compiled["planned_bytes"] - compiled["planned_kept_bytes"]
    assert 0.5 * planned <= compiled["peak_bytes"] - compiled["kept_bytes"] <= planned


def test_recordings_hold_the_memory_of_a_step(compiled: dict[str, Any], eager: dict[str, Any]) -> None:
    assert 0 < compiled["recorded_bytes"] <= 1.3 * compiled["peak_bytes"]
    assert 0 < eager["recorded_bytes"] <= 1.3 * eager["peak_bytes"]


def test_the_loss_moves_each_logit_few_times(compiled: dict[str, Any]) -> None:
    """A product writes 4 bytes, two kernels read them, the second writes 2 that two products read: 18 of a view."""
    encoder, training, _ = settings(BATCH)
    n_logits = (4 + 2 + training.n_local_views) * BATCH * encoder.outputs
    rows = encoder.outputs * encoder.bottleneck * 4  # of the last layer: copied to half precision, and gradients
    assert compiled["loss_bytes"] < 18 * n_logits + 14 * rows


def test_products_are_those_of_the_method(compiled: dict[str, Any], eager: dict[str, Any]) -> None:
    """A compiler leaves no matrix product out and adds none."""
    assert eager["operations"] == pytest.approx(compiled["operations"], rel=0.02)


def test_without_a_compiler_nothing_waits_either(eager: dict[str, Any]) -> None:
    assert (eager["waits"], eager["pageable_copies"]) == (0, 0)
    assert (eager["unknown_products"], eager["misaligned_products"]) == (0, 0)
    assert (eager["float32_products"] == 0) == eager["in_half"]
    allowance = 1 if eager["in_half"] else 1.2  # the plan is for bfloat16
    planned = allowance * (eager["planned_bytes"] - eager["planned_kept_bytes"])
    assert eager["peak_bytes"] - eager["kept_bytes"] <= planned


def test_misaligned_rows_are_seen() -> None:
    """Rows of 172 float16 values end within 16 bytes, rows of 176 do not."""
    product = Counted(1, 2e9, "product m172 n512 k256 x1 types 2 0 rows {} 256 172")
    assert is_misaligned(product.name.format(172))
    assert not is_misaligned(product.name.format(176))


DECODE = """
import logging, os, sys
from contextlib import ExitStack
from pathlib import Path
from slpd.wsi.nvjpeg_reader import NvjpegReader
from slpd.wsi.region_readers import Request, decoding_device, open_for_regions
logging.basicConfig(stream=sys.stdout)
with ExitStack() as stack:
    request = Request("s", Path(sys.argv[1]), 0.5, 0.5, 64)
    opened = open_for_regions(request, "auto", decoding_device(), stack)
    print(opened.regions.reader, opened.regions.reader_reason)
    reader = NvjpegReader(opened.slide, opened.plan, decoding_device())
    regions = list(reader.read_regions([(0, 0), (64, 64)], opened.plan))
    print(*[type(region).__name__ for region in regions], reader.read_by, flush=True)
os._exit(0)
"""


def test_regions_that_the_device_cannot_decode_are_read_on_the_cpu(
    tmp_path: Path, make_slide: Callable[..., Path]
) -> None:
    """nvJPEG, the real one, does not start on this device: `auto` takes the next reader, and regions fall back."""
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    command = [sys.executable, "-c", DECODE, str(make_slide(tmp_path / "s.tiff", picture))]
    environ = environment(build(tmp_path / "device"))
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    assert said.startswith("cucim equal to OpenSlide")
    assert "not nvjpeg: RuntimeError: Internal error - Could not create decoder" in said
    assert said.splitlines()[-1] == "ndarray ndarray cucim"


OVERLAP = """
import argparse, json, os
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from benchmarks.null_cuda import counted, reset
from benchmarks.roofline import WARM_UP, Recipe
dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())  # sums nothing and waits for nobody
sizes = dict(batch=16, depth=1, parts=2, planned=False)
args = argparse.Namespace(**sizes, dtype="bfloat16", eager=True, masked=False, warm_up=False)
recipe = Recipe.of(args)
learner, all_reduce, said = recipe.learner(), dist.all_reduce, []
step, gradients = recipe.step_of(learner), learner.gradients
last_layer, others = gradients.last_layer.data_ptr(), gradients.others.data_ptr()

class Work:
    def __init__(self, what):
        self.what = what
    def wait(self):
        said.append([f"waits for {self.what}", torch.cuda.current_stream() == gradients.beside])

def heard(value, async_op=False):
    what = {last_layer: "last layer", others: "others"}.get(value.data_ptr(), "else")
    said.append([what, torch.cuda.current_stream() == gradients.beside])
    all_reduce(value)
    return Work(what) if async_op else None

dist.all_reduce = heard
for _ in range(WARM_UP):
    step()
in_warm_up = counted()
reset(), said.clear()
step()
counts = {kind: sum(entry.times for entry in entries if entry.name == name) for kind, entries, name in (
    ("recorded", in_warm_up, "recorded external event"), ("waits", counted(), "stream waits for an external event"),
    ("launches", counted(), "launch of a graph"))}
print(json.dumps([said, counts]), flush=True)
os._exit(0)
"""


def test_a_replayed_step_sums_the_last_layers_gradient_beside_the_others(tmp_path: Path) -> None:
    """Of two processes: first, on a stream that waits for the event within the recording; and the step waits for it."""
    command, environ = [sys.executable, "-c", OVERLAP], environment(build(tmp_path))
    run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    said, counts = json.loads(run.stdout.splitlines()[-1])
    begins = said.index(["last layer", True])
    assert said[begins + 1 : begins + 3] == [["others", False], ["waits for last layer", False]]
    assert counts == {"recorded": 1, "waits": 1, "launches": 2}


ATTENTION = """
import math, os, torch
from benchmarks.training import settings
from slpd.models.region_encoder import Attention
from slpd.training.attention import choose_attention, milliseconds
from slpd.training.precision import Precision
precision, views, encoder = Precision(torch.device("cuda", 0), torch.bfloat16), [(64, 14), (256, 6)], settings(32)[0]
print(math.isinf(milliseconds("cudnn", views, encoder, precision)))
print(choose_attention("auto", views, encoder, precision), Attention.kernels is not None)
single = Precision(precision.device, torch.float32)
print(choose_attention("auto", views, encoder, single), Attention.kernels is not None)
print(torch.backends.cuda.cudnn_sdp_enabled(), flush=True)
os._exit(0)
"""


def test_a_kernel_of_attention_that_does_not_work_is_not_chosen(tmp_path: Path) -> None:
    """This device has no cuDNN, which torch would take on an H100. All others take the same time there."""
    command, environ = [sys.executable, "-c", ATTENTION], environment(build(tmp_path))
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["True", "short True", "efficient False", "False"]


STAGE = """
import json, os, sys
from pathlib import Path
import torch
torch.backends.cudnn.enabled = False
torch.backends.cuda.enable_cudnn_sdp(False)
from benchmarks.null_cuda import counted, reset
from benchmarks.slides_encoding import COMMON, DEMO, MPP, make_slide, tissue_like
from slpd.settings.jobs import Jobs
from slpd.settings.slides import PatchEncoderSettings, Reading
from slpd.stages.encode_patches import Batch, encode_slides
from slpd.synthetic.slide_file import write_slide
from slpd.wsi import nvjpeg_reader
folder = Path(sys.argv[1])
write_slide(folder / "s.tiff", tissue_like(1024), MPP, 85)
slides = [make_slide(folder, name, 256, 4, 4, folder / "s.tiff") for name in "ab"]
jobs = {"batch_patches": 64, "copy_to": None, "shared_tokens": None, "tokens": "auto", "regions_at_once": None}
jobs = Jobs(**jobs, iterations_per_job=None, attention="auto", checkpoint_minutes=10)
batch = Batch(PatchEncoderSettings(**COMMON | DEMO), Reading(reader="auto"), jobs, 0)
batch.encoder  # built now
if sys.argv[2:] == ["decoded there"]:  # blank: nvJPEG does not start here
    nvjpeg_reader.NvjpegReader.probe = lambda self: None
    blank = torch.zeros((256, 256, 3), dtype=torch.uint8, device="cuda")
    nvjpeg_reader.decode_jpegs = lambda images, device: [blank] * len(images)
reset()
for record in encode_slides(slides, batch):
    assert (record.status, record.n_regions) == ("ok", 16), record.reason
print(json.dumps({entry.name: (entry.times, entry.amount) for entry in counted()}), flush=True)
os._exit(0)
"""


def run_stage(folder: Path, *arguments: str) -> dict[str, list[float]]:
    """What happened on the device while two slides of 16 regions of 256 px were encoded."""
    command, environ = [sys.executable, "-c", STAGE, str(folder), *arguments], environment(build(folder / "device"))
    run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    seen: dict[str, list[float]] = json.loads(run.stdout.splitlines()[-1])
    return seen


def test_the_stage_locks_no_memory_that_nothing_is_copied_from(tmp_path: Path) -> None:
    seen = run_stage(tmp_path, "decoded there")
    assert not [name for name in seen if "host registration" in name or "pinned to device" in name]


def test_the_stage_locks_the_memory_of_a_slide_once(tmp_path: Path) -> None:
    """Decoded on the CPU, since nvJPEG does not start here."""
    seen = run_stage(tmp_path)
    assert seen["host registration"][0] == 2
    assert seen["copy pinned to device, not waited for"] == [32, 32 * 256 * 256 * 3]
    assert not [name for name in seen if "pageable" in name]


def test_memory_that_cannot_be_locked_is_copied_before(tmp_path: Path) -> None:
    """As where a container may lock none: CUDA keeps that error, and torch would raise it at its next launch."""
    environ = environment(build(tmp_path / "device")) | {"NULL_CUDA_LOCKS_NO_MEMORY": "1"}
    command = [sys.executable, "-c", STAGE, str(tmp_path)]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "is not page-locked (CUDA error 801)" in run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen["copy pinned to device, not waited for"] == [32, 32 * 256 * 256 * 3]


MEMORY = """
import os, sys
from pathlib import Path
import torch
from slpd.wsi import nvjpeg_reader
from slpd.wsi.area_means import area_means
from slpd.wsi.tiff_levels import tiff_structure
tile = int(sys.argv[2])
blank = lambda images, device: [torch.empty((tile, tile, 3), dtype=torch.uint8, device=device) for _ in images]
nvjpeg_reader.decode_jpegs = blank  # nvJPEG does not start here
level = tiff_structure(Path(sys.argv[1]), [(20480, 20480)]).levels[0]
decoder = nvjpeg_reader.LevelDecoder(Path(sys.argv[1]), level, torch.device("cuda", 0))
for side in (4096, int((nvjpeg_reader.LEVEL_BYTES / 3) ** 0.5)):
    torch.cuda.reset_peak_memory_stats()
    part = (100, 100, side, side)
    with decoder.context():
        region = area_means(decoder.decode(dict.fromkeys(level.tiles(*part), b""), *part), 4096)
    print(torch.cuda.max_memory_allocated() + (nvjpeg_reader.AHEAD - 1) * region.nbytes, flush=True)
    del region
os._exit(0)
"""


@pytest.mark.parametrize(("side", "plain_bytes"), [(256, 0.4e9), (4096, 0.5e9)])
def test_decoding_stays_within_its_memory(tmp_path: Path, side: int, plain_bytes: float) -> None:
    """What the reader's page states of a region of 4096 px, of as many pixels of its level and of the most."""
    path = tmp_path / "s.tiff"
    with tifffile.TiffWriter(path) as file:
        tile = imagecodecs.jpeg_encode(np.full((side, side, 3), 200, np.uint8))
        shape = (20480, 20480, 3)
        file.write(iter([tile] * (20480 // side) ** 2), shape=shape, dtype=np.uint8, tile=(side, side),
                   compression="jpeg", photometric="ycbcr")  # fmt: skip
    command, environ = [sys.executable, "-c", MEMORY, str(path), str(side)], environment(build(tmp_path / "device"))
    plain, most = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert 0.2e9 < int(plain) < plain_bytes
    assert 0.5e9 < int(most) < 1.2e9


DOCTOR = "import os; from slpd.doctor.compiler import compiler; print(compiler(), flush=True); os._exit(0)"


def ask_compiler(folder: Path, **variables: str) -> str:
    environ = {**environment(build(folder)), "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"), **variables}
    return subprocess.run(
        [sys.executable, "-c", DOCTOR], env=environ, capture_output=True, text=True, check=True
    ).stdout


def test_doctor_tries_to_compile(tmp_path: Path) -> None:
    assert "torch compiles for this GPU" in ask_compiler(tmp_path)


def test_doctor_says_what_a_node_without_gcc_costs(tmp_path: Path) -> None:
    found = ask_compiler(tmp_path, CC="/no/gcc", TRITON_CACHE_DIR=str(tmp_path / "triton"))
    assert "torch cannot compile" in found
    assert "install gcc" in found


@pytest.fixture(scope="module")
def encoding() -> dict[str, dict[str, float]]:
    """Regions of 512 px on their way to tokens, from three kinds of memory."""
    return on_null_device("benchmarks.encoder_launches", "--region-px", "512")


@pytest.mark.parametrize("memory", ["pageable", "page_locked", "on_device", "timms_blocks"])
def test_encoding_never_makes_the_host_wait(encoding: dict[str, dict[str, float]], memory: str) -> None:
    assert (encoding[memory]["waits"], encoding[memory]["pageable_copies"]) == (0, 0)


def test_regions_are_copied_once_from_shared_memory_and_not_from_the_device(
    encoding: dict[str, dict[str, float]],
) -> None:
    assert encoding["page_locked"]["host_allocations"] == 0  # no other page-locked memory in between
    assert encoding["page_locked"]["host_bytes"] == 512 * 512 * 3
    assert encoding["on_device"]["host_bytes"] == 0


def test_a_sum_with_its_norm_moves_half_the_bytes_in_a_third_of_the_kernels(
    encoding: dict[str, dict[str, float]],
) -> None:
    """23 of 24 sums of ViT-S/16, of 4 patches with 257 tokens of 384 values: 12 bytes a value instead of 24."""
    n = 23 * 4 * 257 * 384
    assert encoding["bytes"]["add_norm"] == pytest.approx(12 * n, rel=0.01)
    assert encoding["timms_bytes"]["all"] - encoding["bytes"]["all"] == pytest.approx(12 * n, rel=0.01)
    assert encoding["timms_blocks"]["launches"] - encoding["on_device"]["launches"] == 2 * 23


ENCODE = """
import os, sys
import numpy as np
import torch
torch.backends.cudnn.enabled = False
torch.backends.cuda.enable_cudnn_sdp(False)
from benchmarks.slides_encoding import COMMON, DEMO, MPP
from slpd.models.patch_encoder import PatchEncoder
from slpd.settings.slides import PatchEncoderSettings
encoder = PatchEncoder(PatchEncoderSettings(**COMMON | DEMO), None, 64)
tokens = encoder.encode(np.zeros((64, 64, 3), np.uint8), MPP).tokens
print(type(encoder.model.blocks).__name__, tokens.shape, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("variables", "blocks"), [({}, "FusedBlocks"), ({"CC": "/no/gcc"}, "Sequential")])
def test_a_node_without_gcc_encodes_with_timms_blocks_and_says_so(
    tmp_path: Path, variables: dict[str, str], blocks: str
) -> None:
    environ = {**environment(build(tmp_path / "device")), "TRITON_CACHE_DIR": str(tmp_path / "triton"), **variables}
    run = subprocess.run([sys.executable, "-c", ENCODE], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == f"{blocks} (4, 384)"
    assert ("Debian: gcc, python3-dev" in run.stderr) == (blocks == "Sequential")
    assert ("/no/gcc" in run.stderr) == (blocks == "Sequential")  # the reason

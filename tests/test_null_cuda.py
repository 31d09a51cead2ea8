"""Torch's CUDA path on a device that computes nothing: what a step and an encoder ask of a GPU, without one."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="module", params=["bfloat16", "float16", "float32", "parts", "masked"])
def eager(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A step where nothing can be compiled, in every precision, in three parts, and with absent patches."""
    others = {"parts": ["--parts", "3"], "masked": ["--masked"]}
    how = others.get(request.param, ["--dtype", request.param])
    return on_null_device("benchmarks.roofline", "--batch", str(BATCH), "--depth", str(DEPTH), "--eager", *how)


def test_a_step_never_makes_the_host_wait(compiled: dict[str, Any]) -> None:
    assert (compiled["waits"], compiled["pageable_copies"]) == (0, 0)


def test_networks_and_loss_compile_whole_and_once(compiled: dict[str, Any]) -> None:
    """The student for two sizes of views, the teacher for one, the loss for targets without and with prototypes."""
    assert (compiled["graph_breaks"], compiled["graphs"]) == (0, 5)
    assert compiled["compiled_launches"] > 100


def test_a_step_launches_few_kernels(compiled: dict[str, Any]) -> None:
    """A launch costs the host some 5 µs: the paper's six blocks must stay below the time of its step."""
    assert compiled["launches"] <= 700


def test_large_products_have_aligned_rows(compiled: dict[str, Any]) -> None:
    assert compiled["unknown_products"] == 0
    assert compiled["misaligned_products"] == 0


def test_a_step_stays_within_the_memory_that_is_planned_for_it(compiled: dict[str, Any]) -> None:
    assert compiled["peak_bytes"] <= compiled["planned_bytes"]


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
    assert (eager["waits"], eager["pageable_copies"], eager["unknown_products"]) == (0, 0, 0)
    assert eager["peak_bytes"] <= eager["planned_bytes"]


def test_misaligned_rows_are_seen() -> None:
    """Rows of 172 float16 values end within 16 bytes, rows of 176 do not."""
    product = Counted(1, 2e9, "product m172 n512 k256 x1 types 2 0 rows {} 256 172")
    assert is_misaligned(product.name.format(172))
    assert not is_misaligned(product.name.format(176))


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

"""What a training step asks of a GPU, counted on a device that computes nothing (`benchmarks/null_cuda`).

A step is bound by memory traffic: its bytes by a card's bytes per second are the time that this traffic takes. Counted
are the arguments of every kernel that torch compiles and of every other operation, each read or written once. What a
cache saves, or a kernel reads twice, is not known here. Waits, copies, launches and memory are torch's own. The last
line is JSON. Usage: `python -m benchmarks.roofline [--batch 512] [--eager] [--masked] [--warm-up] [--planned]`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.null_cuda import Counted, build, counted, environment, reset
from benchmarks.training import GRID, RATES, TOKEN_WIDTH, loss_inputs, prototype_targets, settings
from slpd.method.cross_entropy import LastLayer, streamed
from slpd.models.network import Network
from slpd.settings.training import Objective, RegionEncoder, Training
from slpd.training.attention import choose_attention
from slpd.training.batches import Batches
from slpd.training.learner import Learner
from slpd.training.memory import STEP_BYTES, activation_bytes, regions_at_once
from slpd.training.precision import Precision
from slpd.training.token_store import ResidentTokens

VIEWS = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "unbind", "split", "unsafe_split",
    "split_with_sizes", "detach", "alias", "unsqueeze", "squeeze", "as_strided", "_reshape_alias", "diagonal", "empty",
    "empty_like", "new_empty", "empty_strided", "new_empty_strided", "record_stream", "is_pinned", "_pin_memory",
}  # fmt: skip
FILLS = {
    "fill_",
    "zero_",
    "zeros",
    "zeros_like",
    "ones",
    "ones_like",
    "full",
    "new_zeros",
    "new_ones",
    "new_full",
    "arange",
}
CARDS = {"H100": 3.0e12, "H200": 4.3e12}  # bytes a second: nine tenths of the data sheets' 3.35 and 4.8 TB/s
ALIGNED = 16  # bytes that rows must be a multiple of for the fastest products
LARGE = 10**9  # products of more operations than this must be fast
FLOAT32 = 0  # of cudaDataType
ELEMENT_BYTES = {FLOAT32: 4, 2: 2, 14: 2}  # float16, bfloat16
WARM_UP = 4  # steps before the one that is counted; the fourth is recorded
Report = dict[str, float]


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that operations read and write, by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: Counter[str] = Counter()

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """What is compiled runs as compiled."""
        return True

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operation and count it."""
        result = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if name not in VIEWS:
            made = device_tensors(result)
            read = [] if name in FILLS else [t for t in device_tensors((args, kwargs)) if not same_as_any(t, made)]
            self.bytes[name] += sum(map(bytes_of, [*read, *made]))
        return result


def device_tensors(values: Any) -> list[Tensor]:  # noqa: ANN401
    """The tensors on the device among arguments or results."""
    return [value for value in _pytree.tree_leaves(values) if isinstance(value, Tensor) and value.is_cuda]


def same_as_any(tensor: Tensor, others: list[Tensor]) -> bool:
    """Whether it is one of these, as `out` of an operation is."""
    return any(tensor is other for other in others)


def bytes_of(tensor: Tensor) -> int:
    """What a tensor occupies; what is expanded counts once."""
    lengths = [length for length, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(lengths) * tensor.element_size()


@contextmanager
def traffic() -> Iterator[Counter[str]]:
    """Count what moves in the block: operations, and the kernels that torch compiled."""
    run, counting = CachingAutotuner.run, Traffic()

    def counted_run(kernel: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        counting.bytes[kernel.inductor_meta.get("kernel_name", "?")] += sum(map(bytes_of, device_tensors(args)))
        return run(kernel, *args, **kwargs)  # type: ignore[no-untyped-call]

    CachingAutotuner.run = counted_run  # type: ignore[method-assign, assignment]
    try:
        with counting:
            yield counting.bytes
    finally:
        CachingAutotuner.run = run  # type: ignore[method-assign]


def loss_bytes(batch: int) -> int:
    """Of the compiled cross-entropy with its gradients by the vectors of all views and the rows of the last layer."""
    (views, targets), weights = loss_inputs(batch, torch.device("cuda"))
    views.requires_grad_()
    rows, lengths = weights[0].clone().requires_grad_(), torch.ones(len(weights[0]), device="cuda", requires_grad=True)
    layers = LastLayer(rows, lengths, torch.bfloat16), LastLayer(weights[1], lengths.detach(), torch.bfloat16)
    centres, temperatures = torch.zeros(len(targets), len(rows), device="cuda"), (0.1, 0.04)
    compiled = torch.compile(streamed, dynamic=False)

    def forward_and_back() -> None:
        torch.autograd.backward(compiled(views, targets, layers, centres, temperatures).pairs.mean())

    forward_and_back()
    with traffic() as moved:
        forward_and_back()
    return sum(moved.values())


@dataclass(frozen=True)
class Recipe:
    """Which step."""

    batch: int  # regions
    regions_at_once: int  # of them, through the student together
    dtype: torch.dtype  # of the networks' products
    compiled: bool  # networks and loss
    masked: bool  # patches are absent
    warm_up: bool  # without prototypes
    encoder: RegionEncoder
    training: Training
    objective: Objective

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Recipe":
        """The paper's, but for what is asked for."""
        encoder, training, objective = settings(args.batch)
        encoder = encoder.model_copy(update={"depth": args.depth or encoder.depth})
        dtype, given = getattr(torch, args.dtype), None if args.planned else -(-args.batch // args.parts)
        at_once = regions_at_once(encoder, training, torch.device("cuda", 0), args.batch, given)
        forms = not args.eager, args.masked, args.warm_up
        return cls(args.batch, at_once, dtype, *forms, encoder, training, objective)

    @property
    def planned_bytes(self) -> int:
        """Memory that training counts on."""
        return STEP_BYTES + self.regions_at_once * activation_bytes(self.encoder, self.training)

    def learner(self) -> Learner:
        """What is trained, as training makes it."""
        precision = Precision(torch.device("cuda", 0), self.dtype)
        learner = Learner(self.encoder, self.training, self.objective, TOKEN_WIDTH, precision, self.regions_at_once)
        if not self.masked:
            choose_attention("auto", learner.view_sizes(), self.encoder, precision)
        if self.compiled:
            learner.compile(self.masked)
        return learner

    def step_of(self, learner: Learner) -> Callable[[], Tensor]:
        """A step of training, to call again and again."""
        n_regions, device = 4 * self.batch, learner.device
        tokens = torch.empty((n_regions, GRID, GRID, TOKEN_WIDTH), dtype=torch.float16, device=device)
        store = ResidentTokens(tokens, np.arange(n_regions))
        present = np.random.default_rng(0).random((n_regions, GRID, GRID)) > 0.3 if self.masked else None
        batches = Batches(store, n_regions, self.encoder, self.training, GRID, present)
        if not self.warm_up:
            batches.prototypes = prototype_targets(n_regions, self.batch, self.encoder, device)
        stream = (given for epoch in range(10**6) for given in batches.batches_from(epoch, 0))
        return lambda: learner.step(next(stream), RATES, freeze_last_layer=False)


def step_report(recipe: Recipe) -> Report:
    """What one step does on the null device: by kernels issued one by one, and then replayed."""
    torch.backends.cuda.enable_cudnn_sdp(False)  # the null device has no cuDNN
    Network.draw_weights = lambda network, seed: None  # type: ignore[method-assign, assignment]  # values do not matter
    learner = recipe.learner()
    step = recipe.step_of(learner)
    learner.shares.records = learner.teacher_vectors.records = False
    warm_up(step)
    kept = torch.cuda.memory_allocated()
    happened = happened_in(step)
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    with traffic() as moved:
        step()
    learner.shares.records = learner.teacher_vectors.records = True
    reset()
    warm_up(step)
    left_out = sum(entry.times for entry in counted() if entry.name.startswith("not recorded"))
    replayed = summary(happened_in(step))
    torch.cuda.empty_cache()
    recorded = torch.cuda.memory_reserved() - held
    return {
        **summary(happened),
        **{f"replayed_{name}": replayed[name] for name in ("waits", "pageable_copies", "launches", "graph_launches")},
        "left_out": left_out,
        "bytes": sum(moved.values()),
        "peak_bytes": peak,
        "kept_bytes": kept,  # between steps: networks, moments, gradients, tokens
        "recorded_bytes": recorded,  # what recordings hold
        "planned_bytes": recipe.planned_bytes,
        "planned_kept_bytes": STEP_BYTES,
        "regions_at_once": recipe.regions_at_once,
        "reserved_bytes": torch.cuda.memory_reserved(),  # in the end, recordings included
        "graphs": counters["stats"]["unique_graphs"],
        "graph_breaks": sum(counters["graph_break"].values()),
    }


def warm_up(step: Callable[[], Tensor]) -> None:
    """The steps that warm a step up, and record it."""
    for _ in range(WARM_UP):
        step()


def happened_in(step: Callable[[], Tensor]) -> list[Counted]:
    """What a step does, where it may not wait for the device."""
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_sync_debug_mode("error")
    reset()
    step()
    happened = counted()
    torch.cuda.set_sync_debug_mode("default")
    return happened


def summary(happened: list[Counted]) -> Report:
    """Counts by kind."""

    def times(kind: str, word: str = "") -> int:
        return sum(entry.times for entry in happened if entry.name.startswith(kind) and word in entry.name)

    products = [entry for entry in happened if entry.name.startswith("product")]
    large = [product for product in products if product.amount > LARGE * product.times]
    return {
        "waits": times("wait"),
        "pageable_copies": times("copy", "pageable"),
        "launches": times("kernel") + times("compiled kernel"),
        "compiled_launches": times("compiled kernel"),
        "graph_launches": times("launch of a graph"),
        "products": times("product"),
        "unknown_products": times("unknown"),
        "misaligned_products": sum(is_misaligned(product.name) for product in large),
        "float32_products": sum(types_of(product.name)[0] == FLOAT32 for product in large),
        "operations": sum(product.amount for product in products),
    }


def is_misaligned(product: str) -> bool:
    """Whether a matrix of a product has rows that the fastest kernels of a GPU cannot load."""
    size, rows = ELEMENT_BYTES[types_of(product)[0]], product.partition(" rows ")[2]
    return any(int(row) * size % ALIGNED for row in rows.split()[:2])


def types_of(product: str) -> list[int]:
    """The types of a product's inputs and of its result."""
    return [int(number) for number in product.partition(" types ")[2].partition(" rows ")[0].split()]


def on_null_device(module: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a module on the null device, compiled for this, with these environment variables; the JSON of its last line.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", module, *arguments]
        environ = {**environment(build(Path(folder))), **variables}
        run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return report


def table(report: Report) -> str:
    """Every count, and the time that a card needs for the bytes."""
    lines = [f"{name:22} {value:,.0f}" for name, value in report.items()]
    least = [f"{card}: {1000 * report['bytes'] / speed:.1f} ms for the bytes" for card, speed in CARDS.items()]
    return "\n".join([*lines, *least])


def main() -> None:
    """Count, in a process that has the device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=512, help="regions")
    parser.add_argument("--depth", type=int, help="blocks of the region encoder")
    parser.add_argument("--parts", type=int, default=1, help="pieces that a batch goes through the student in")
    parser.add_argument("--planned", action="store_true", help="in as many as training would choose on this card")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16", help="of networks")
    parser.add_argument("--eager", action="store_true", help="without a compiler")
    parser.add_argument("--masked", action="store_true", help="with absent patches")
    parser.add_argument("--warm-up", action="store_true", help="without prototypes, as before the first iteration")
    args = parser.parse_args()
    if "NULL_CUDA" not in os.environ:
        print(json.dumps(on_null_device("benchmarks.roofline", *sys.argv[1:])))
        return
    report = step_report(Recipe.of(args))
    if not args.eager:
        report["loss_bytes"] = loss_bytes(args.batch)
    print(table(report), file=sys.stderr)
    print(json.dumps(report), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

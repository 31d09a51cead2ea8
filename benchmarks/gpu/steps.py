"""Training steps: how fast, how exact, and where their time goes."""

import argparse
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.timing import Rows, synchronise
from benchmarks.training import (
    GRID,
    RATES,
    TOKEN_WIDTH,
    in_a_process,
    operations_per_region,
    prototype_targets,
    settings,
    tokens,
)
from slpd.training.attention import choose_attention
from slpd.training.batches import Batches
from slpd.training.learner import Learner, ViewBatch, Views
from slpd.training.memory import regions_at_once
from slpd.training.precision import Precision
from slpd.training.token_store import ResidentTokens

STEP_BYTES = {True: 116e9 / 512, False: 184e9 / 512}  # compiled -> of a region, docs/performance.md
CHECKED = 8  # regions of the batch whose numbers are compared
REPEATED = (1, 10, 100, 500)  # steps after which two equal trainings are compared


def learner_and_batches(
    args: argparse.Namespace, dtype: torch.dtype, batch: int, once: int | None = None, compiles: bool = False
) -> tuple[Learner, Iterator[ViewBatch]]:
    """A learner with the paper's recipe, and its batches without end."""
    device = torch.device(args.device)
    encoder, training, objective = settings(batch)
    if args.tiny:
        encoder = encoder.model_copy(update={"depth": 1, "outputs": 128, "head_width": 64})
        training = training.model_copy(update={"global_crop": 4, "local_crop": 2})
    at_once = once or regions_at_once(encoder, training, device, batch, None)
    learner = Learner(encoder, training, objective, TOKEN_WIDTH, Precision(device, dtype), at_once)
    choose_attention("auto", learner.view_sizes(), encoder, learner.precision)
    if compiles:
        learner.compile()
    n = 4 * batch
    store = ResidentTokens(torch.from_numpy(tokens(n)).to(device), np.arange(n))
    batches = Batches(store, n, encoder, training, GRID)
    batches.prototypes = prototype_targets(n, batch, encoder, device)
    return learner, (given for epoch in range(10**6) for given in batches.batches_from(epoch, 0))


def stepper(learner: Learner, batches: Iterator[ViewBatch]) -> Callable[[], Tensor]:
    """A step, to call again and again."""
    return lambda: learner.step(next(batches), RATES, freeze_last_layer=False)


def training(args: argparse.Namespace) -> Rows:
    """Steps at the paper's batch and at a fourth of it, as each of four GPUs has; and the textbook form's."""
    batches = (2,) if args.tiny else (512, 128)
    for batch, compiles in ((batches[0], False), *((batch, True) for batch in batches)):
        yield from forms_of_step(args, batch, compiles)
    if not args.tiny:
        for form in ("textbook", "our_loss", "textbook_loss"):
            figures = in_a_process(form, batches[0], args.device, 5)
            memory = f"{figures['peak_bytes'] / 1e9:.1f} GB"
            yield form.replace("_", " "), f"{figures['regions_per_second']:.0f} regions/s, {memory}"


def forms_of_step(args: argparse.Namespace, batch: int, compiles: bool) -> Rows:
    """One recipe's step, by kernels issued one by one and replayed."""
    device, started = torch.device(args.device), time.perf_counter()
    learner, batches = learner_and_batches(args, Precision.of(device).dtype, batch, compiles=compiles)
    step = stepper(learner, batches)
    step()
    synchronise(device)
    name = f"batch {batch}, {'compiled' if compiles else 'eager'}"
    yield f"{name}, first step after", f"{time.perf_counter() - started:.0f} s"
    for replayed in (False, True):
        form = f"{name}, {'replayed' if replayed else 'issued'}"
        learner.shares.records = learner.teacher_vectors.records = replayed and device.type == "cuda"
        if device.type == "cuda":
            torch.cuda.empty_cache()
        taken = seconds_in_a_row(step, device, 0.1 if args.tiny else 4)
        rate = batch / taken
        operations = operations_per_region(*settings(batch)[:2]) * rate
        moved = f"{STEP_BYTES[compiles] * rate / 1e12:.2f} TB/s of counted bytes"
        yield form, f"**{rate:.0f} regions/s**, {1000 * taken:.1f} ms, {operations / 1e12:.1f} TFLOP/s, {moved}"
        yield f"{form}, the host issues a step in", f"{1000 * host_seconds(step, device):.1f} ms"
        if device.type == "cuda":
            yield f"{form}, held by torch", f"{torch.cuda.memory_reserved() / 1e9:.1f} GB"  # recordings too
    del learner, step
    gc.collect()  # a learner and its recordings refer to each other


def seconds_in_a_row(step: Callable[[], Tensor], device: torch.device, least_s: float) -> float:
    """Mean seconds of a step among many, between which nothing waits for the device, as in training."""
    for _ in range(5):  # the fourth is recorded
        step()
    synchronise(device)
    started, n_steps = time.perf_counter(), 0
    while time.perf_counter() - started < least_s:
        for _ in range(5):
            step()
        synchronise(device)
        n_steps += 5
    return (time.perf_counter() - started) / n_steps


def host_seconds(step: Callable[[], Tensor], device: torch.device) -> float:
    """How long the host takes to issue a step, while it may not wait for the device."""
    times = []
    torch.cuda.set_sync_debug_mode("error") if device.type == "cuda" else None
    for _ in range(3):
        at = time.perf_counter()
        step()
        times.append(time.perf_counter() - at)
        synchronise(device)
    torch.cuda.set_sync_debug_mode("default") if device.type == "cuda" else None
    return statistics.median(times)


def numbers(args: argparse.Namespace) -> Rows:
    """One step's losses and gradients in every precision, against float32 on the CPU; and of two equal runs."""
    on_cpu = argparse.Namespace(**{**vars(args), "device": "cpu"})
    expected = gradients(on_cpu, torch.float32, CHECKED)
    for name, dtype, once, compiles in (
        ("float32", torch.float32, CHECKED, False),
        ("float16", torch.float16, CHECKED, False),
        ("bfloat16", torch.bfloat16, CHECKED, False),
        ("bfloat16, again", torch.bfloat16, CHECKED, False),
        ("bfloat16, 5 at once", torch.bfloat16, 5, False),
        ("bfloat16, compiled", torch.bfloat16, CHECKED, True),
    ):
        losses, gradient = gradients(args, dtype, once, compiles)
        off = float((gradient - expected[1]).norm() / expected[1].norm())
        yield name, f"losses off by {float((losses - expected[0]).abs().max()):.1e}, gradient by {off:.1e} of its norm"
        if name == "bfloat16":
            first = gradient
        if name == "bfloat16, again":
            yield "two runs in bfloat16 differ by", f"{float((gradient - first).norm() / first.norm()):.1e}"


def gradients(args: argparse.Namespace, dtype: torch.dtype, once: int, compiles: bool = False) -> tuple[Tensor, Tensor]:
    """Losses, and all gradients in one row, of the first batch."""
    learner, batches = learner_and_batches(args, dtype, CHECKED, once, compiles)
    if learner.precision.scaled:  # as the first steps, whose gradients overflow, would leave it
        learner.precision.load_state_dict(learner.precision.state_dict() | {"scale": 64.0})
    learner.gradients.begin()
    values = learner.find_gradients(next(batches))
    learner.precision.scaler.unscale_(learner.optimiser)
    losses = torch.stack([value.float() for value in values.values()])
    return losses.cpu(), learner.gradients.rows.flatten().cpu()


def repeated(args: argparse.Namespace) -> Rows:
    """How far two trainings with the same seed are from each other, step by step."""
    batch, steps = (2, REPEATED[:2]) if args.tiny else (64, REPEATED)
    dtype = Precision.of(torch.device(args.device)).dtype
    runs = [learner_and_batches(args, dtype, batch) for _ in range(2)]
    start = parameters_of(runs[0][0])
    for n in range(1, steps[-1] + 1):
        regions = [next(batches) for _, batches in runs]  # the same twice
        for (learner, _), given in zip(runs, regions, strict=True):
            learner.step(given, RATES, freeze_last_layer=False)
        if n in steps:
            one, other = (parameters_of(learner) for learner, _ in runs)
            apart = float((one - other).norm() / (one - start).norm())
            cosines = torch.linalg.vecdot(*(unit_vectors(learner, regions[0].global_views) for learner, _ in runs))
            vectors = f"the teacher's vectors' cosine is {float(cosines.mean()):.6f}, least {float(cosines.min()):.6f}"
            yield f"two trainings, {n} steps", f"weights apart by {apart:.1e} of their way; {vectors}"


def parameters_of(learner: Learner) -> Tensor:
    """All of the student, in one row."""
    return torch.cat([p.detach().flatten() for p in learner.student.parameters()])


@torch.no_grad()
def unit_vectors(learner: Learner, views: Views) -> Tensor:
    """(V * B, D) float32 unit vectors of the teacher."""
    return torch.nn.functional.normalize(learner.find_teacher_vectors(views._replace(keep=None)).flatten(0, 1), dim=1)


def profiled(args: argparse.Namespace) -> Rows:
    """The kernels that a compiled step spends most time in."""
    device, batch = torch.device(args.device), 2 if args.tiny else 512
    step = stepper(*learner_and_batches(args, Precision.of(device).dtype, batch, compiles=True))
    for _ in range(3):
        step()
    synchronise(device)
    if device.type == "cpu":
        yield "kernels", "none on a CPU"
        return
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        synchronise(device)
    times: defaultdict[str, list[float]] = defaultdict(list)
    for event in seen.events():
        if event.device_type.name == "CUDA":
            times[event.name].append(event.device_time)
    yield "all kernels", f"{sum(map(len, times.values()))}, {sum(map(sum, times.values())) / 1000:.1f} ms"
    for name, parts in sorted(times.items(), key=lambda item: -sum(item[1]))[:20]:
        yield f"`{name[:80].replace('|', '/')}`", f"{len(parts)} ×, {sum(parts) / 1000:.2f} ms"

"""Speed and memory of a training step and of its loss, against their textbook form in the same run.

Each form trains in a process of its own, in turns, on the same random tokens with the settings of `config/config.yaml`;
medians over turns are compared. The textbook form is `benchmarks/textbook.py`; both are checked to compute the same
losses. The last line is JSON. Usage: `python -m benchmarks.training [--batch 16] [--device cuda] [--turns 3]`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the stages run

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.textbook import TextbookLearner, loader
from slpd.method.cross_entropy import LastLayer, cross_entropy, streamed
from slpd.method.schedules import StepRates
from slpd.settings.load import load_experiment
from slpd.settings.training import INTER, INTRA, TERMS, Objective, RegionEncoder, Training
from slpd.training.attention import choose_attention
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.learner import Learner, ViewBatch
from slpd.training.memory import regions_at_once
from slpd.training.precision import Precision
from slpd.training.token_store import ResidentTokens

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
GRID, TOKEN_WIDTH = 16, 384
RATES = StepRates(learning_rate=1e-4, weight_decay=0.04, teacher_momentum=0.996)
FORMS = ("textbook", "ours", "textbook_loss", "our_loss")
Figures = dict[str, float]


def settings(batch: int) -> tuple[RegionEncoder, Training, Objective]:
    """The paper's, with another batch."""
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    return experiment.region_encoder, experiment.training.model_copy(update={"batch_size": batch}), experiment.objective


def operations_per_region(encoder: RegionEncoder, training: Training) -> float:
    """Floating-point operations that a region needs: all views forward, twice as many back, the teacher's forward.

    Counted are matrix products, of the last block the CLS token alone, and no recomputation.
    """
    width, hidden = encoder.width, encoder.head_width
    head = 2 * (width * hidden + hidden**2 + hidden * encoder.bottleneck)
    outputs = 2 * encoder.bottleneck * encoder.outputs
    large, small = (operations_of_view(encoder, side) for side in (training.global_crop, training.local_crop))
    student = 2 * large + training.n_local_views * small + (2 + training.n_local_views) * (head + outputs)
    return 3 * student + 2 * (large + head) + 4 * outputs


def operations_of_view(encoder: RegionEncoder, side: int) -> float:
    """Of the region encoder's forward on a square view."""
    n, width = 1 + side**2, encoder.width
    block = 2 * n * 12 * width**2 + 4 * n**2 * width
    last = 2 * (2 * n + 10) * width**2 + 4 * n * width  # keys and values of all patches, the rest of the CLS token
    return 2 * side**2 * TOKEN_WIDTH * width + (encoder.depth - 1) * block + last


def prototypes(batch: int, encoder: RegionEncoder, device: torch.device) -> Tensor:
    """(2 * batch, D) for each region its own prototype and another one."""
    vectors = torch.randn(2 * batch, encoder.bottleneck, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(vectors, dim=-1).to(device)


def prototype_targets(n_regions: int, batch: int, encoder: RegionEncoder, device: torch.device) -> PrototypeTargets:
    """Region r has the prototypes r and r + batch, modulo the batch."""
    vectors, rows = prototypes(batch, encoder, device), np.arange(n_regions)[None] % batch
    return PrototypeTargets({INTRA: vectors, INTER: vectors}, {INTRA: rows, INTER: rows + batch}, "bottleneck")


def tokens(n_regions: int) -> np.ndarray:
    """(R, grid, grid, token width) random tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_regions, GRID, GRID, TOKEN_WIDTH, generator=generator).half().numpy()


def textbook_steps(batch: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """The textbook form's steps."""
    encoder, training, _ = settings(batch)
    torch.manual_seed(0)
    learner, vectors = TextbookLearner(encoder, training, TOKEN_WIDTH, device), prototypes(batch, encoder, device)
    batches = loader(tokens(8 * batch), training, workers=0 if device.type == "cpu" else 8)
    own, other = vectors.chunk(2)

    def step(views: list[Tensor]) -> None:
        learner.step([view.to(device) for view in views], own, other, RATES)

    while True:
        stream = iter(batches)
        for _ in range(len(batches)):
            yield lambda: step(next(stream)[0])  # noqa: B023  # called before the next is asked for


def our_steps(batch: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """This package's steps."""
    encoder, training, objective = settings(batch)
    once = regions_at_once(encoder, training, device, batch, None)
    learner = Learner(encoder, training, objective, TOKEN_WIDTH, Precision.of(device), once)
    choose_attention("auto", learner.view_sizes(), encoder, learner.precision)
    learner.compile()
    n_regions = 8 * batch
    store = ResidentTokens(torch.from_numpy(tokens(n_regions)).to(device), np.arange(n_regions))
    batches = Batches(store, n_regions, encoder, training, GRID)
    batches.prototypes = prototype_targets(n_regions, batch, encoder, device)

    def step(batch_at: ViewBatch) -> None:
        learner.step(batch_at, RATES, freeze_last_layer=False)

    for epoch in range(10**6):
        stream = batches.batches_from(epoch, 0)
        for _ in range(batches.per_epoch):
            yield lambda: step(next(stream))  # noqa: B023  # called before the next is asked for


def loss_inputs(batch: int, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Vectors of ten views, two teacher views, both prototypes; last layers of student and teacher."""
    encoder, training, _ = settings(batch)
    generator = torch.Generator().manual_seed(2)
    shapes = ((2 + training.n_local_views, batch, encoder.bottleneck), (4, batch, encoder.bottleneck))
    vectors = [torch.nn.functional.normalize(torch.randn(s, generator=generator), dim=-1).to(device) for s in shapes]
    weights = torch.randn(2, encoder.outputs, encoder.bottleneck, generator=generator)
    return vectors, torch.nn.functional.normalize(weights, dim=-1).to(device)


def textbook_loss_steps(batch: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """The textbook form's last layer and loss, forward and back."""
    encoder, training, _ = settings(batch)
    (views, targets), weights = loss_inputs(batch, device)
    torch.manual_seed(0)
    learner = TextbookLearner(encoder.model_copy(update={"depth": 1}), training, TOKEN_WIDTH, device)
    student, weight = views.requires_grad_(), weights[0].clone().requires_grad_()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = list((student @ weight.t()).float())
            goals = list((targets @ weights[1].t()).float())
        own = learner.self_loss(logits, goals[:2], same_view_skipped=True)
        others = [learner.prototype_loss(logits, [goal], same_view_skipped=False) for goal in goals[2:]]
        torch.autograd.backward(own + others[0] + others[1])
        student.grad = weight.grad = None

    while True:
        yield step


def our_loss_steps(batch: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """This package's last layer and loss, forward and back."""
    encoder, training, _ = settings(batch)
    (views, targets), weights = loss_inputs(batch, device)
    dtype, ones = Precision.of(device).of_products, torch.ones(encoder.outputs, device=device)
    student, weight = views.requires_grad_(), weights[0].clone().requires_grad_()
    layers = LastLayer(weight, ones, dtype), LastLayer(weights[1], ones, dtype)
    centres = torch.zeros(4, encoder.outputs, device=device)
    temperatures = training.student_temperature, training.teacher_temperature
    once = regions_at_once(encoder, training, device, batch, None)
    on_device = cross_entropy if device.type == "cpu" else torch.compile(streamed, dynamic=False)  # as in training

    def step() -> None:
        for part in (slice(start, start + once) for start in range(0, batch, once)):
            found = on_device(student[:, part], targets[:, part], layers, centres, temperatures)
            torch.autograd.backward(found.pairs.sum() / 18 / batch)
        student.grad = weight.grad = None

    while True:
        yield step


def measure(form: str, batch: int, device: torch.device, seconds: float) -> Figures:
    """Regions per second and peak memory of one form, in this process."""
    makers = {
        "textbook": textbook_steps,
        "ours": our_steps,
        "textbook_loss": textbook_loss_steps,
        "our_loss": our_loss_steps,
    }
    steps = makers[form](batch, device)
    before = peak_bytes(device)
    for _ in range(2):  # memory settles, kernels are chosen
        next(steps)()
    synchronise(device)
    times: list[float] = []
    started, busy = time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds or len(times) < 4:
        at = time.monotonic()
        next(steps)()
        synchronise(device)
        times.append(time.monotonic() - at)
    peak, busy = peak_bytes(device), time.process_time() - busy
    return {
        "regions_per_second": batch / statistics.median(times),
        "processor_seconds_per_region": busy / len(times) / batch,
        "peak_bytes": peak,
        "bytes_per_region": (peak - before) / batch,
        "steps": len(times),
    }


def peak_bytes(device: torch.device) -> float:
    """Most memory that this process has held, of the device that it trains on."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def in_a_process(form: str, batch: int, device: str, seconds: float) -> Figures:
    """Run `measure` in its own process."""
    command = [sys.executable, "-m", "benchmarks.training", "--form", form, "--batch", str(batch), "--device", device]
    run = subprocess.run([*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(run.stdout.splitlines()[-1])
    return figures


def check_equal_losses(batch: int) -> float:
    """Both forms on the same weights and views; the largest difference of their losses.

    Raises:
        AssertionError: they compute different things.
    """
    encoder, training, objective = settings(batch)
    encoder = encoder.model_copy(update={"drop_path": 0.0, "outputs": 1024})
    cpu = torch.device("cpu")
    learner = Learner(encoder, training, objective, TOKEN_WIDTH, Precision(cpu, torch.float32), 2)
    textbook = TextbookLearner(encoder, training, TOKEN_WIDTH, cpu)
    for ours, theirs in ((learner.student, textbook.student), (learner.teacher, textbook.teacher)):
        theirs.load_state_dict(textbook_names(ours.state_dict(), theirs.state_dict()))
    store = ResidentTokens(torch.from_numpy(tokens(2 * batch)), np.arange(2 * batch))
    batches = Batches(store, 2 * batch, encoder, training, GRID)
    batches.prototypes, vectors = prototype_targets(2 * batch, batch, encoder, cpu), prototypes(batch, encoder, cpu)
    regions, cut = batches.regions_of(0, 0), next(batches.batches_from(0, 0))
    of_batch = [*cut.global_views.tokens, *cut.local_views.tokens]
    views = [view.float().permute(0, 3, 1, 2) for view in of_batch]
    own = torch.from_numpy(regions % batch)
    expected = torch.stack(textbook.losses(views, vectors[own], vectors[own + batch]))
    found = learner.find_gradients(cut)
    difference = float((torch.stack([found[term.name] for term in TERMS]) - expected.detach()).abs().max())
    assert difference < 1e-4, f"losses differ by {difference}"
    return difference


def textbook_names(state: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the textbook form's names; its last layer keeps gains, all 1."""
    renamed = {name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2"): tensor for name, tensor in state.items()}
    direction = renamed.pop("head.last_layer.weight_v")
    last = {"original0": torch.ones(len(direction), 1), "original1": direction}
    return renamed | {name: last[name.split(".")[-1]] for name in like if "parametrizations" in name}


def compare(batch: int, device: str, turns: int, seconds: float) -> dict[str, Any]:
    """All forms in turns; medians and ratios."""
    runs: dict[str, list[Figures]] = {form: [] for form in FORMS}
    for turn in range(turns):
        for form in FORMS if turn % 2 == 0 else reversed(FORMS):
            runs[form].append(in_a_process(form, batch, device, seconds))
            print(form, runs[form][-1], flush=True)
    medians = {
        form: {key: statistics.median(run[key] for run in found) for key in found[0]} for form, found in runs.items()
    }
    encoder, training, _ = settings(batch)
    operations = operations_per_region(encoder, training)
    return {
        "batch": batch,
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "forms": medians,
        "speed_ratio": medians["ours"]["regions_per_second"] / medians["textbook"]["regions_per_second"],
        "processor_time_ratio": medians["textbook"]["processor_seconds_per_region"]
        / medians["ours"]["processor_seconds_per_region"],
        "memory_ratio": medians["ours"]["peak_bytes"] / medians["textbook"]["peak_bytes"],
        "loss_speed_ratio": medians["our_loss"]["regions_per_second"] / medians["textbook_loss"]["regions_per_second"],
        "loss_memory_ratio": medians["our_loss"]["bytes_per_region"] / medians["textbook_loss"]["bytes_per_region"],
        "operations_per_region": operations,
        "achieved_operations_per_second": operations * medians["ours"]["regions_per_second"],
        "loss_difference": check_equal_losses(4),
    }


def main() -> None:
    """Compare, or measure one form where `compare` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15, help="least time of a form's turn")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.form:
        print(json.dumps(measure(args.form, args.batch, torch.device(args.device), args.seconds)))
    else:
        print(json.dumps(compare(args.batch, args.device, args.turns, args.seconds)))


if __name__ == "__main__":
    main()

"""Everything that training changes, and one step of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from slpd.artifacts.learned.training_metrics import STEP_METRICS, TERM_NAMES
from slpd.method.cross_entropy import CrossEntropyOf, LastLayer, cross_entropy, streamed
from slpd.method.losses import DistillationLoss, Goals, Targets
from slpd.method.processes import sum_over_processes
from slpd.method.schedules import StepRates
from slpd.models.network import Network
from slpd.settings.training import SELF, Features, Objective, RegionEncoder, Term, Training
from slpd.training.adamw import load_moments, make_adamw, moments_of, set_rates
from slpd.training.compiled import compiled
from slpd.training.gradients import Gradients
from slpd.training.precision import Precision
from slpd.training.recorded import Recorded

Encode = Callable[..., Tensor]
LOSS_METRICS = ("loss", *TERM_NAMES, "teacher_entropy")  # the first of STEP_METRICS
PARTS = ("student", "teacher", "loss", "precision")  # of a learner's state, besides the optimiser


class Views(NamedTuple):
    """V views of B regions."""

    tokens: Tensor  # (V, B, side, side, token width)
    keep: Tensor | None  # (depth, 2, V, B) stochastic-depth factors of the student; None: no dropping
    present: Tensor | None  # (V, B, side, side) which patches there are; None: all

    def of_regions(self, part: slice) -> "Views":
        """The same views of some of the regions."""
        keep, present = self.keep, self.present
        return Views(
            self.tokens[:, part],
            None if keep is None else keep[..., part],
            None if present is None else present[:, part],
        )


@dataclass(frozen=True)
class ViewBatch:
    """What one step is taken on: this process's share of a batch, B regions."""

    global_views: Views  # the two that the teacher sees too
    local_views: Views
    n_regions: int  # regions of the whole batch, over all processes
    prototypes: Mapping[Term, Targets]  # of every term that needs prototypes; `vectors` are still as clustered
    features: Features  # what these prototypes are means of


class Learner:
    """Student, teacher, optimiser, and loss with its centres."""

    def __init__(
        self,
        encoder: RegionEncoder,
        training: Training,
        objective: Objective,
        token_width: int,
        precision: Precision,
        regions_at_once: int,
    ) -> None:
        """Student and teacher start equal, from random weights drawn on the CPU.

        Args:
            encoder: Architecture.
            training: Recipe.
            objective: Terms of the loss.
            token_width: Length of a patch token.
            precision: What a step is computed in, and on which device.
            regions_at_once: Regions whose activations are held together; changes results by rounding alone.
        """
        device = precision.device
        self.student = Network(encoder, token_width)
        self.student.draw_weights(training.seed)
        self.student.to(device)
        self.teacher = Network(encoder, token_width).to(device).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.loss = DistillationLoss(encoder.outputs, training, objective).to(device)
        self.optimiser, self.gradients = make_adamw(self.student), Gradients(self.student.parameters())
        self.training, self.precision, self.regions_at_once = training, precision, regions_at_once
        self.device, self.token_width, self.dropping = device, token_width, encoder.drop_path > 0
        self.encode_student: Encode = self.student.backbone
        self.encode_teacher: Encode = self.teacher
        self.teacher_vectors = Recorded(self.find_teacher_vectors, device)
        self.shares = Recorded(self.add_gradients, device)

    def compile(self, masked: bool = False) -> None:
        """Compile both networks and the cross-entropy where that works; `masked`: for views with absent patches."""
        sizes, backbone = self.view_sizes(), self.student.backbone
        self.encode_student = compiled(backbone, partial(self.trial, sizes, self.dropping, masked), self.device)
        with torch.no_grad():
            teacher = self.teacher
            self.encode_teacher = compiled(teacher, partial(self.trial, sizes[:1], False, masked), self.device)
        self.loss.cross_entropy = compiled(streamed, self.loss_trial, self.device, cross_entropy)
        self.student.zero_grad(set_to_none=True)

    def view_sizes(self) -> list[tuple[int, int]]:
        """How many views of which side, patches, go through a network together."""
        t, n = self.training, self.regions_at_once
        return [(2 * n, t.global_crop), *([(t.n_local_views * n, t.local_crop)] if t.n_local_views else [])]

    def trial(self, sizes: Sequence[tuple[int, int]], dropping: bool, masked: bool, encode: Encode) -> Tensor:
        """Encode empty views."""
        depth, results = len(self.student.backbone.blocks), []
        for n, side in sizes:
            shape = (n, side, side, self.token_width)
            keep = torch.ones((depth, 2, n), device=self.device) if dropping else None
            present = torch.ones(shape[:3], dtype=torch.bool, device=self.device) if masked else None
            tokens = torch.zeros(shape, dtype=self.precision.dtype, device=self.device)
            with self.precision.autocast():
                results.append(encode(tokens, keep, present))
        return torch.cat(results)

    def loss_trial(self, cross_entropy: CrossEntropyOf) -> Tensor:
        """The cross-entropy of empty views and the teacher's targets; others are compiled when they come."""
        width, n_views = self.student.head.last_layer.weight_v.shape[1], 2 + self.training.n_local_views
        views = torch.zeros((n_views, self.regions_at_once, width), device=self.device, requires_grad=True)
        targets, layers = views[:2].detach(), (self.last_layer(self.student), self.last_layer(self.teacher))
        centres = self.loss.self_centre.value.repeat(2, 1)
        return cross_entropy(views, targets, layers, centres, self.loss.temperatures).pairs

    def state_dict(self) -> dict[str, Any]:
        """All state, as tensors in plain dicts."""
        state = {part: dict(getattr(self, part).state_dict()) for part in PARTS}
        return state | {"optimiser": moments_of(self.optimiser)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all state."""
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])
        load_moments(self.optimiser, state["optimiser"])

    def step(self, batch: ViewBatch, rates: StepRates, freeze_last_layer: bool) -> Tensor:
        """One optimiser step.

        Returns:
            (n,) what STEP_METRICS names, of the whole batch.
        """
        self.gradients.begin()
        values = self.find_gradients(batch)
        values["gradient_norm"] = self.finish_gradients(freeze_last_layer)
        set_rates(self.optimiser, rates)
        self.precision.scaler.step(self.optimiser)
        self.precision.scaler.update()
        self.follow_student(rates.teacher_momentum)
        return torch.stack([values[name] for name in STEP_METRICS])

    def find_gradients(self, batch: ViewBatch) -> dict[str, Tensor]:
        """Add the gradients of the whole batch to the student's.

        Returns:
            Name -> what the loss gives for the whole batch.
        """
        targets = self.targets(batch)
        goals = self.loss.goals(targets, self.last_layer(self.teacher))
        shares = self.shares((batch.global_views, batch.local_views), goals).clone()
        self.gradients.sum_over_processes()  # before other sums, which would wait for all of the way back
        summed = sum_over_processes(shares)
        return dict(zip(LOSS_METRICS, summed, strict=True)) | {"feature_spread": feature_spread(targets[SELF])}

    def add_gradients(self, views: Sequence[Views], goals: Goals) -> Tensor:
        """Add the gradients of some views of some regions to the student's.

        A view's gradient needs the targets and its own logits, no other view's. So some regions at a time go forward
        and back, and only their activations and logits are held.

        Args:
            views: Those that the teacher sees first.
            goals: Of the same regions.

        Returns:
            (n,) what LOSS_METRICS names, as these regions' share.
        """
        student, teacher = self.last_layer(self.student), self.last_layer(self.teacher)
        lengths = student.inverse_lengths.detach().requires_grad_()  # all parts add to its gradient, which goes on once
        shares = []
        for part in self.parts(views[0]):
            made = self.student_vectors([some.of_regions(part) for some in views])  # (V, b, D)
            vectors = made.detach().requires_grad_()
            values = self.loss(vectors, goals.of_regions(part), student._replace(inverse_lengths=lengths), teacher)
            torch.autograd.backward(self.precision.scaler.scale(values["loss"]))
            if part.stop >= views[0].tokens.shape[1]:
                go_back(student.inverse_lengths, lengths.grad)
                self.gradients.last_layer_is_ready()
            go_back(made, vectors.grad)
            shares.append(torch.stack([values[name].detach() for name in LOSS_METRICS]))
        return torch.stack(shares).sum(dim=0)

    def last_layer(self, network: Network) -> LastLayer:
        """A network's last layer, for products in this precision."""
        last = network.head.last_layer
        return LastLayer(last.weight_v, last.inverse_lengths(), self.precision.of_products)

    def parts(self, views: Views) -> Iterator[slice]:
        """The regions of a batch, some at a time."""
        return (slice(at, at + self.regions_at_once) for at in range(0, views.tokens.shape[1], self.regions_at_once))

    def student_vectors(self, views: Sequence[Views]) -> Tensor:
        """(V, B, D) unit vectors of all views, in their order."""
        with self.precision.autocast():
            vectors = [self.encode(self.encode_student, some) for some in views if len(some.tokens)]
            return self.student.head.bottleneck(torch.cat(vectors))

    def encode(self, network: Encode, views: Views) -> Tensor:
        """V views of B regions -> (V, B, D)."""
        tokens = views.tokens.flatten(0, 1).to(self.precision.dtype)
        keep = None if views.keep is None else views.keep.flatten(2)
        present = None if views.present is None else views.present.flatten(0, 1)
        return network(tokens, keep, present).view(*views.tokens.shape[:2], -1)

    def find_teacher_vectors(self, views: Views) -> Tensor:
        """(V, B, D) float32 vectors of the teacher, in which nothing is dropped."""
        with self.precision.autocast():
            parts = [self.encode(self.encode_teacher, views.of_regions(part)) for part in self.parts(views)]
        return torch.cat(parts, dim=1).float()

    @torch.no_grad()
    def targets(self, batch: ViewBatch) -> dict[Term, Targets]:
        """The targets of every term, of the teacher as it is before this step's update."""
        views = self.teacher_vectors(batch.global_views._replace(keep=None))  # (2, B, D)
        with self.precision.autocast():
            prototypes = {
                term: given._replace(vectors=self.teacher.prototype_vectors(given.vectors, batch.features))
                for term, given in batch.prototypes.items()
            }
        valid = torch.ones(views.shape[:2], dtype=torch.bool, device=self.device)
        return {SELF: Targets(views, valid, views.new_full((len(views),), float(batch.n_regions))), **prototypes}

    @torch.no_grad()
    def finish_gradients(self, freeze_last_layer: bool) -> Tensor:
        """Clip each tensor by its own norm, freeze the last layer.

        Returns:
            () the norm of all of them before clipping; not finite where scaled gradients overflowed.
        """
        self.precision.scaler.unscale_(self.optimiser)
        norms = self.gradients.norms()
        self.gradients.multiply((self.training.clip_norm / (norms + 1e-6)).clamp(max=1))
        if freeze_last_layer:
            self.student.head.last_layer.weight_v.grad = None  # not zero: no decay and no Adam state either
        return norms.square().sum().sqrt()

    def follow_student(self, momentum: float) -> None:
        """Teacher = momentum * teacher + (1 - momentum) * student."""
        average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        average(list(self.teacher.parameters()), list(self.student.parameters()), 0)


def go_back(value: Tensor, gradient: Tensor | None) -> None:
    """Add to the gradients of the parameters that `value` was made of, from its own."""
    assert gradient is not None, "the loss depends on it"
    # As a product: a given gradient's shape would be compared by torch's symbols, half a second of imports.
    torch.autograd.backward((value * gradient).sum())


def feature_spread(targets: Targets) -> Tensor:
    """Variance of unit vectors over a batch, 0 to 1."""
    return 1 - targets.mean_vector().square().sum()

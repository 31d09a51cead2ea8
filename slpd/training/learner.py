"""Everything that training changes, and one step of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slpd.method.cross_entropy import LastLayer, LastLayers, cross_entropies
from slpd.method.losses import DistillationLoss, LossTerms, Targets
from slpd.method.processes import n_processes, sum_over_processes
from slpd.method.schedules import StepRates
from slpd.models.network import Network
from slpd.settings.training import Features, Objective, RegionEncoder, Training
from slpd.training.adamw import AdamW
from slpd.training.compiled import Encode, compiled
from slpd.training.precision import Precision

PARTS = ("student", "teacher", "loss", "optimiser", "precision")  # of a learner's state


@dataclass(frozen=True)
class Batch:
    """What one step is taken on: this process's share of a batch, B regions."""

    global_views: Tensor  # (2, B, g, g, token width)
    local_views: Tensor  # (n, B, l, l, token width)
    global_keep: Tensor | None  # (depth, 2, 2, B) stochastic-depth factors of the student; None: no dropping
    local_keep: Tensor | None  # (depth, 2, n, B)
    n_regions: int  # regions of the whole batch, over all processes
    intra: Targets | None  # as DistillationLoss takes them, but `vectors` are still prototypes (T, B, D)
    inter: Targets | None
    features: Features  # what these prototypes are means of

    def __len__(self) -> int:
        """Regions of this process."""
        return self.global_views.shape[1]

    def views_of(self, part: slice) -> "Batch":
        """The views of some of the regions."""
        return replace(
            self,
            global_views=self.global_views[:, part],
            local_views=self.local_views[:, part],
            global_keep=self.global_keep if self.global_keep is None else self.global_keep[..., part],
            local_keep=self.local_keep if self.local_keep is None else self.local_keep[..., part],
        )


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
        self.optimiser = AdamW(dict(self.student.named_parameters()))
        self.training, self.precision, self.regions_at_once = training, precision, regions_at_once
        self.device, self.token_width, self.dropping = device, token_width, encoder.drop_path > 0
        self.encode_student: Encode = self.student.backbone
        self.encode_teacher: Encode = self.teacher

    def compile(self) -> None:
        """Compile both networks where that works."""
        sizes = self.view_sizes()
        self.encode_student = compiled(self.student.backbone, partial(self.trial, sizes, self.dropping), self.precision)
        with torch.no_grad():
            self.encode_teacher = compiled(self.teacher, partial(self.trial, sizes[:1], False), self.precision)

    def view_sizes(self) -> list[tuple[int, int]]:
        """How many views of which side, patches, go through a network together."""
        t, n = self.training, self.regions_at_once
        return [(2 * n, t.global_crop), *([(t.n_local_views * n, t.local_crop)] if t.n_local_views else [])]

    def trial(self, sizes: Sequence[tuple[int, int]], dropping: bool, encode: Encode) -> Tensor:
        """Encode empty views."""
        depth, results = len(self.student.backbone.blocks), []
        for n, side in sizes:
            shape = (n, side, side, self.token_width)
            keep = torch.ones((depth, 2, n), device=self.device) if dropping else None
            results.append(encode(torch.zeros(shape, dtype=self.precision.dtype, device=self.device), keep))
        return torch.cat(results)

    def state_dict(self) -> dict[str, Any]:
        """All state, as tensors in plain dicts."""
        return {part: dict(getattr(self, part).state_dict()) for part in PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all state."""
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])

    def step(self, batch: Batch, rates: StepRates, freeze_last_layer: bool) -> Tensor:
        """One optimiser step.

        Returns:
            (7,) loss, self, intra, inter, teacher entropy, feature spread, gradient norm before clipping; of the whole
            batch.
        """
        terms = self.gradients(batch)
        norm, overflow = self.finish_gradients(freeze_last_layer)
        self.optimiser.step(rates.learning_rate, rates.weight_decay, overflow)
        for p in self.student.parameters():
            p.grad = None
        self.follow_student(rates.teacher_momentum)
        summed = sum_over_processes(torch.stack([self.loss.total(terms), *terms[:4]]))
        return torch.cat([summed, terms.feature_spread[None], norm[None]])

    def gradients(self, batch: Batch) -> LossTerms:
        """Leave the gradients of this process's share in the student; its terms.

        A view's gradient needs the targets and its own logits, no other view's. So some regions at a time go forward
        and back, and only their activations are held.
        """
        student, teacher = self.last_layer(self.student), self.last_layer(self.teacher)
        pulls = self.loss.pulls(self.n_views(batch), *self.targets(batch), teacher)
        temperatures = self.training.student_temperature, self.training.teacher_temperature
        layers = LastLayers(student, teacher, pulls.centres, *temperatures)
        sums, entropies = torch.zeros_like(pulls.shares), torch.zeros_like(pulls.counts)
        last, pair_weights = self.student.head.last_layer, pulls.pair_weights * self.precision.scale
        weight_gradient = torch.zeros_like(last.weight_v)
        for part in self.parts(batch):
            vectors = self.student_vectors(batch.views_of(part))  # (V, b, D)
            found = cross_entropies(
                vectors.detach(),
                pulls.vectors[:, part],
                pulls.valid[:, part],
                pair_weights,
                layers,
                weight_gradient,
            )
            torch.autograd.backward(vectors, found.view_gradients.to(vectors.dtype))
            sums += found.sums
            entropies += found.entropies
        last.set_gradient(weight_gradient, student.inverse_lengths)
        return pulls.collect(sums, entropies)

    def last_layer(self, network: Network) -> LastLayer:
        """A network's last layer, for products in this precision."""
        last = network.head.last_layer
        return LastLayer(last.weight_v.detach().to(self.precision.of_products), last.inverse_lengths())

    def n_views(self, batch: Batch) -> int:
        """Views of the student."""
        return len(batch.global_views) + len(batch.local_views)

    def parts(self, batch: Batch) -> Iterator[slice]:
        """The regions of a batch, some at a time."""
        return (slice(start, start + self.regions_at_once) for start in range(0, len(batch), self.regions_at_once))

    def student_vectors(self, batch: Batch) -> Tensor:
        """(V, B, D) unit vectors of all views, the teacher's first."""
        backbone = self.encode_student
        with self.precision.autocast():
            vectors = [self.encode(backbone, batch.global_views, batch.global_keep)]
            if len(batch.local_views):
                vectors.append(self.encode(backbone, batch.local_views, batch.local_keep))
            return self.student.head.bottleneck(torch.cat(vectors))

    def encode(self, network: Encode, views: Tensor, keep: Tensor | None) -> Tensor:
        """(V, B, rows, columns, token width) views, (depth, 2, V, B) factors -> (V, B, D)."""
        tokens = views.flatten(0, 1).to(self.precision.dtype)
        return network(tokens, None if keep is None else keep.flatten(2)).view(*views.shape[:2], -1)

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Targets, Targets | None, Targets | None]:
        """The targets of every term, of the teacher as it is before this step's update."""
        with self.precision.autocast():
            vectors = [
                self.encode(self.encode_teacher, batch.global_views[:, part], None) for part in self.parts(batch)
            ]
            intra, inter = (
                targets and targets._replace(vectors=self.teacher.prototype_vectors(targets.vectors, batch.features))
                for targets in (batch.intra, batch.inter)
            )
        teacher = torch.cat(vectors, dim=1).float()  # (2, B, D)
        valid = torch.ones(teacher.shape[:2], dtype=torch.bool, device=self.device)
        return Targets(teacher, valid, teacher.new_full((len(teacher),), float(batch.n_regions))), intra, inter

    @torch.no_grad()
    def finish_gradients(self, freeze_last_layer: bool) -> tuple[Tensor, Tensor | None]:
        """Sum over processes, clip each tensor by its own norm, freeze the last layer.

        Returns:
            The norm of all of them before clipping, and whether they overflowed where they are scaled.
        """
        parameters = [p for p in self.student.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if n_processes() > 1:
            summed = sum_over_processes(torch.cat([g.flatten() for g in gradients]))
            parts = torch.split(summed, [g.numel() for g in gradients])
            torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
        if self.precision.scaled:
            torch._foreach_mul_(gradients, 1 / self.precision.scale)
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (self.training.clip_norm / (norms + 1e-6)).clamp(max=1)
        torch._foreach_mul_(gradients, list(factors.unbind()))
        if freeze_last_layer:
            self.student.head.last_layer.weight_v.grad = None  # not zero: no decay and no Adam state either
        norm = norms.square().sum().sqrt()
        return norm, self.precision.overflow(norm)

    @torch.no_grad()
    def follow_student(self, momentum: float) -> None:
        """Teacher = momentum * teacher + (1 - momentum) * student."""
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)

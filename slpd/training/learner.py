"""Everything that training changes, and one step of it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slpd.method.losses import DistillationLoss, LossTerms, Targets
from slpd.method.processes import n_processes, sum_over_processes
from slpd.method.schedules import StepRates
from slpd.models.network import Network
from slpd.settings.training import Features, Objective, RegionEncoder, Training
from slpd.training.adamw import AdamW


@dataclass(frozen=True)
class Batch:
    """What one step is taken on: this process's share of a batch, B regions."""

    global_views: Tensor  # (2 * B, g, g, token width) float32, view-major
    local_views: Tensor  # (n * B, l, l, token width) float32, view-major
    global_keep: Tensor | None  # (depth, 2, 2 * B) stochastic-depth factors of the student; None: no dropping
    local_keep: Tensor | None  # (depth, 2, n * B)
    n_regions: int  # regions of the whole batch, over all processes
    intra: Targets | None  # as DistillationLoss takes them, but `logits` are still prototypes (T, B, D)
    inter: Targets | None
    features: Features  # what these prototypes are means of


class Learner:
    """Student, teacher, optimiser and loss (with its centres)."""

    def __init__(
        self,
        encoder: RegionEncoder,
        training: Training,
        objective: Objective,
        token_width: int,
        device: torch.device,
    ) -> None:
        """Student and teacher start equal, from random weights drawn on the CPU."""
        self.student = Network(encoder, token_width)
        self.student.draw_weights(training.seed)
        self.student.to(device)
        self.teacher = Network(encoder, token_width).to(device).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.loss = DistillationLoss(encoder.outputs, training, objective).to(device)
        self.optimiser = AdamW(dict(self.student.named_parameters()))
        self.training, self.objective, self.device = training, objective, device

    def state_dict(self) -> dict[str, Any]:
        """All state, as tensors in plain dicts."""
        return {part: dict(getattr(self, part).state_dict()) for part in ("student", "teacher", "loss", "optimiser")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all state."""
        for part in ("student", "teacher", "loss", "optimiser"):
            getattr(self, part).load_state_dict(state[part])

    def step(self, batch: Batch, rates: StepRates, freeze_last_layer: bool) -> Tensor:
        """One optimiser step.

        Returns:
            (6,) loss, self, intra, inter, teacher entropy, gradient norm before clipping; over the whole batch.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            student, teacher, intra, inter = self.forward(batch)
        terms = self.loss(student, teacher, intra, inter)
        loss = self.total(terms)
        torch.autograd.backward(loss)
        norm = self.finish_gradients(freeze_last_layer)
        self.optimiser.step(rates.learning_rate, rates.weight_decay)
        for p in self.student.parameters():
            p.grad = None
        self.follow_student(rates.teacher_momentum)
        summed = sum_over_processes(torch.stack([loss.detach(), *(term.detach() for term in terms)]))
        return torch.cat([summed, norm[None]])

    def forward(self, batch: Batch) -> tuple[Tensor, Targets, Targets | None, Targets | None]:
        """Student logits (V, B, K) and the targets of every term."""
        B = len(batch.global_views) // 2
        vectors = [self.student.backbone(batch.global_views, batch.global_keep)]
        if len(batch.local_views):
            vectors.append(self.student.backbone(batch.local_views, batch.local_keep))
        student = self.student.head(torch.cat(vectors)).unflatten(0, (-1, B))  # (V, B, K)
        with torch.no_grad():
            logits = self.teacher(batch.global_views).unflatten(0, (2, B))  # (2, B, K)
            valid = torch.ones((2, B), dtype=torch.bool, device=self.device)
            teacher = Targets(logits, valid, torch.full((2,), float(batch.n_regions), device=self.device))
            intra, inter = (
                targets and targets._replace(logits=self.teacher.prototype_logits(targets.logits, batch.features))
                for targets in (batch.intra, batch.inter)
            )  # of the teacher as it is before this step's update
            return student, teacher, intra, inter

    def total(self, terms: LossTerms) -> Tensor:
        """L_self + alpha1 * L_intra + alpha2 * L_inter."""
        return terms.self_distillation + self.objective.intra * terms.intra + self.objective.inter * terms.inter

    @torch.no_grad()
    def finish_gradients(self, freeze_last_layer: bool) -> Tensor:
        """Sum over processes, clip each tensor by its own norm, freeze the last layer; the norm of all of them."""
        parameters = [p for p in self.student.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if n_processes() > 1:
            summed = sum_over_processes(torch.cat([g.flatten() for g in gradients]))
            parts = torch.split(summed, [g.numel() for g in gradients])
            torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (self.training.clip_norm / (norms + 1e-6)).clamp(max=1)
        torch._foreach_mul_(gradients, list(factors.unbind()))
        if freeze_last_layer:
            self.student.head.last_layer.weight_v.grad = None  # not zero: no decay and no Adam state either
        return norms.square().sum().sqrt()

    @torch.no_grad()
    def follow_student(self, momentum: float) -> None:
        """Teacher = momentum * teacher + (1 - momentum) * student."""
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)

"""AdamW (Loshchilov & Hutter 2019) over named parameters, on torch's fused kernel.

`torch.optim.AdamW` computes the same; importing it loads torch's compiler, which costs every training
process three seconds. State by parameter name also makes a checkpoint independent of parameter order.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPS = 1e-8


class AdamW:
    """The optimiser; a parameter without gradient is left alone: no decay, no state."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.moments: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # mean, mean of squares, steps taken

    @torch.no_grad()
    def step(self, learning_rate: float, weight_decay: float, overflow: Tensor | None = None) -> None:
        """One step. Biases and 1-d parameters are not decayed; where `overflow` is 1, nothing changes."""
        active = {name: p for name, p in self.parameters.items() if p.grad is not None}
        for decayed in (True, False):
            group = [name for name, p in active.items() if is_decayed(name, p) == decayed]
            moments = [self.moments_of(name) for name in group]
            if not group:
                continue
            means, squares, steps = (list(column) for column in zip(*moments, strict=True))
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                [active[name] for name in group],
                [grad for name in group if (grad := active[name].grad) is not None],
                means,
                squares,
                [],
                steps,
                lr=learning_rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=weight_decay if decayed else 0.0,
                eps=EPS,
                amsgrad=False,
                maximize=False,
                found_inf=overflow,
            )
            if overflow is not None:
                torch._foreach_sub_(steps, [overflow] * len(steps))

    def moments_of(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """The state of a parameter, zero before its first step."""
        if name not in self.moments:
            p = self.parameters[name]
            self.moments[name] = (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device))
        return self.moments[name]

    def state_dict(self) -> dict[str, Any]:
        """The moments by parameter name."""
        return dict(self.moments)

    def load_state_dict(self, state: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
        """Take over moments, copied to the device of their parameters."""
        self.moments = {}
        for name, saved in state.items():
            for ours, theirs in zip(self.moments_of(name), saved, strict=True):
                ours.copy_(theirs)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay acts on a parameter."""
    return parameter.ndim > 1 and not name.endswith(".bias")

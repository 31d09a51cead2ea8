"""AdamW (Loshchilov & Hutter 2019) as torch has it, in one kernel for all parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from slpd.method.adam import AdamW
from slpd.method.schedules import StepRates

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # torch's names for a parameter's state


def make_adamw(network: nn.Module) -> AdamW:
    """The optimiser of a network; a parameter without gradient is left alone: no decay, no state."""
    decayed, others = (
        [(name, p) for name, p in network.named_parameters() if is_decayed(name, p) == wanted]
        for wanted in (True, False)
    )
    return AdamW([{"params": decayed}, {"params": others}], fused=True)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay acts on a parameter: not on biases, nor on others of one dimension."""
    return parameter.ndim > 1 and not name.endswith(".bias")


def set_rates(optimiser: torch.optim.Optimizer, rates: StepRates) -> None:
    """The rates of the next step."""
    decayed, others = optimiser.param_groups
    decayed.update(lr=rates.learning_rate, weight_decay=rates.weight_decay)
    others.update(lr=rates.learning_rate, weight_decay=0.0)


def moments_of(optimiser: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """The optimiser's state by name of parameter; equal states give equal bytes, unlike those of torch's own dicts."""
    parameters = (
        pair for group in optimiser.param_groups for pair in zip(group["param_names"], group["params"], strict=True)
    )
    return {name: [optimiser.state[p][key] for key in MOMENTS] for name, p in parameters if p in optimiser.state}


def load_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, Sequence[Tensor]]) -> None:
    """Take over a state, on the device of the parameters."""
    current = optimiser.state_dict()
    names = [name for group in current["param_groups"] for name in group["param_names"]]
    state = {
        number: dict(zip(MOMENTS, moments[name], strict=True)) for number, name in enumerate(names) if name in moments
    }
    optimiser.load_state_dict({**current, "state": state})

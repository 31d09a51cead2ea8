"""The optimiser decays matrices alone, leaves parameters without gradient alone, and goes on from its saved state."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slpd.method.schedules import StepRates
from slpd.training.adamw import load_moments, make_adamw, moments_of, set_rates

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[1]


def rates(step: int) -> StepRates:
    return StepRates(learning_rate=0.01 * (step + 1), weight_decay=0.1 * step, teacher_momentum=1.0)


class ByHand:
    """AdamW of one parameter as the paper writes it, in float64."""

    def __init__(self, value: Tensor) -> None:
        self.value, self.mean, self.square, self.steps = value.detach().double(), 0.0, 0.0, 0

    def step(self, gradient: Tensor, learning_rate: float, weight_decay: float) -> None:
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient.double()
        self.square = 0.999 * self.square + 0.001 * gradient.double() ** 2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.value = self.value * (1 - learning_rate * weight_decay) - learning_rate * mean / (square.sqrt() + 1e-8)


def test_steps_are_those_of_the_paper_also_after_a_restart() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    by_hand = {name: ByHand(p) for name, p in layer.named_parameters()}
    optimiser = make_adamw(layer)
    for step in range(6):
        layer.zero_grad()
        layer(torch.randn(5, 4)).square().sum().backward()
        if step in (0, 1, 4):
            layer.weight.grad = None
        set_rates(optimiser, rates(step))
        for name, p in layer.named_parameters():
            if p.grad is not None:
                decay = rates(step).weight_decay if name == "weight" else 0.0
                by_hand[name].step(p.grad, rates(step).learning_rate, decay)
        optimiser.step()
        for name, p in layer.named_parameters():
            torch.testing.assert_close(p.detach().double(), by_hand[name].value, rtol=1e-5, atol=1e-6)
        saved = copy.deepcopy(moments_of(optimiser))  # go on from saved state, in a new optimiser
        optimiser = make_adamw(layer)
        load_moments(optimiser, saved)


STEPS = """
import importlib, sys, torch
module = importlib.import_module(sys.argv[1])
for name in ("Adam", "AdamW"):
    parameter = torch.ones(3, requires_grad=True)
    optimiser = getattr(module, name)([parameter], lr=0.1, weight_decay=0.1, fused=True)
    for step in range(3):
        optimiser.zero_grad()
        torch.autograd.backward((parameter * torch.arange(3)).square().sum())
        optimiser.step()
        optimiser.load_state_dict(optimiser.state_dict())
    print(parameter.tolist())
print("torch._dynamo" in sys.modules)
"""


def test_steps_are_those_of_torch_without_its_compiler() -> None:
    """Its import takes a second, which every process that trains would pay; fresh ones tell."""
    runs = (
        subprocess.run([sys.executable, "-c", STEPS, module], capture_output=True, text=True, check=True, cwd=ROOT)
        for module in ("slpd.method.adam", "torch.optim")
    )
    (*ours, ours_compiles), (*theirs, theirs_compile) = (run.stdout.splitlines() for run in runs)
    assert ours == theirs
    assert (ours_compiles, theirs_compile) == ("False", "True"), "where torch's own do without, slpd.method.adam can go"

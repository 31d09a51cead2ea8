"""Weights put into a model: random ones from an explicit generator, or given ones that fit exactly."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slpd.errors import UserError

INITIAL_STD = 0.02  # DINO


def draw_truncated_normal(parameter: Tensor, generator: torch.Generator) -> None:
    """Fill with a normal of std 0.02, cut at ±2 (so hardly ever)."""
    nn.init.trunc_normal_(parameter, std=INITIAL_STD, generator=generator)


def load_exactly(model: nn.Module, weights: Mapping[str, Tensor], misfit: str) -> None:
    """Put weights into a model, all of them or none.

    Args:
        model: The model.
        weights: Its tensors by name.
        misfit: Beginning of the message if they do not fit: what does not fit what.

    Raises:
        UserError: tensors are missing, surplus or of another shape; all are listed.
    """
    expected = model.state_dict()
    faults = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    faults += [f"{name} is surplus" for name in weights.keys() - expected.keys()]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape
    ]
    if faults:
        raise UserError(f"{misfit}: {'; '.join(sorted(faults))}")
    model.load_state_dict(weights)

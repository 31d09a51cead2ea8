"""Weights put into a model: random ones from an explicit generator, or given ones that fit exactly."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from slpd.errors import UserError

INITIAL_STD = 0.02  # DINO
HEAD = "head."  # projection head of DINO, classifier of timm: most encoders end before it


def draw_truncated_normal(parameter: Tensor, generator: torch.Generator) -> None:
    """Fill with a normal of std 0.02, cut at ±2 (which hardly ever happens)."""
    nn.init.trunc_normal_(parameter, std=INITIAL_STD, generator=generator)


def without_head(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, less those of a head that the model does not have."""
    expected = model.state_dict()
    return {name: tensor for name, tensor in weights.items() if name in expected or not name.startswith(HEAD)}


def load_exactly(model: nn.Module, weights: Mapping[str, Tensor], misfit: str) -> None:
    """Put weights into a model, all of them or none.

    Args:
        model: The model.
        weights: Its tensors by name.
        misfit: Start of the message if they do not fit: what does not fit what.

    Raises:
        UserError: tensors are missing, surplus, of another shape or kind, or not finite; all are listed.
    """
    refuse_misfit(model, weights, misfit, fault_of_tensor)
    model.load_state_dict(weights)


def refuse_misfit(
    model: nn.Module, weights: Mapping[str, Tensor], misfit: str, fault_of: Callable[[Tensor, Tensor], str]
) -> None:
    """Refuse weights whose names are not the model's, or a tensor in which `fault_of` finds a fault.

    Arguments and errors are those of `load_exactly`.
    """
    expected = model.state_dict()
    faults = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    faults += [f"{name} is surplus" for name in weights.keys() - expected.keys()]
    unfit = {name: fault_of(weights[name], expected[name]) for name in expected.keys() & weights.keys()}
    faults += [f"{name} {fault}" for name, fault in unfit.items() if fault]
    if faults:
        raise UserError(f"{misfit}: {'; '.join(sorted(faults))}")


def fault_of_shape(tensor: Tensor, expected: Tensor) -> str:
    """Why a tensor cannot take the place of another, whatever its values; empty if it can."""
    if tensor.shape != expected.shape:
        return f"has shape {tuple(tensor.shape)}, expected {tuple(expected.shape)}"
    return ""


def fault_of_tensor(tensor: Tensor, expected: Tensor) -> str:
    """Why a tensor cannot take the place of another; empty if it can."""
    if fault := fault_of_shape(tensor, expected):
        return fault
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return "is sparse, quantised or without values, expected plain numbers"
    if tensor.is_complex() or tensor.is_floating_point() != expected.is_floating_point():
        return f"holds {tensor.dtype}, expected {expected.dtype}"
    if not tensor.double().isfinite().all():
        return "has values that are not finite"
    return ""

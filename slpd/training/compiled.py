"""Functions compiled by torch, where that works: fused kernels move what a narrow network makes less often."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Function = Callable[..., Any]


def compiled(
    function: Function, trial: Callable[[Function], Tensor], device: torch.device, plain: Function | None = None
) -> Function:
    """A function compiled, if a trial of it goes forward (and back, where it has gradients); else its plain form.

    On a CPU nothing is compiled: matrix products take most of the time there.

    Args:
        function: A network, whose parameters may change afterwards, or a function of tensors.
        trial: Calls what it is given as training does, on inputs of the same sizes, strides and types, or it would be
            compiled once more; may leave gradients behind.
        device: Of the calls.
        plain: What does the same without a compiler; None: the function itself.
    """
    plain = function if plain is None else plain
    if device.type == "cpu":
        return plain
    # For each size of its inputs: there are few, and torch 2.11 failed where a size was left open.
    fast: Function = torch.compile(function, dynamic=False)
    try:
        result = trial(fast)
        if result.requires_grad:
            torch.autograd.backward(result.float().sum())
    except Exception:  # whatever a compiler, its cache or a driver may raise: training goes on without
        logger.warning("%s is not compiled, which costs speed alone:", name_of(function), exc_info=True)
        return plain
    logger.info("%s is compiled", name_of(function))
    return fast


def name_of(function: Function) -> str:
    """The function's name, or the network's class."""
    return getattr(function, "__name__", type(function).__name__)

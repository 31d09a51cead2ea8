"""Networks compiled by torch, where that works: fused kernels move the activations of so narrow a network less."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from slpd.training.precision import Precision

logger = logging.getLogger(__name__)

Encode = Callable[..., Tensor]


def compiled(network: nn.Module, trial: Callable[[Encode], Tensor], precision: Precision) -> Encode:
    """The network compiled, if a trial of it goes forward (and back, where it is trained); else as it is.

    On a CPU it is never compiled: its matrix products take most of the time there.

    Args:
        network: Whose parameters may change afterwards.
        trial: Calls what it is given on inputs of the sizes of training.
        precision: Of the calls.
    """
    if precision.device.type == "cpu":
        return network
    fast: Encode = torch.compile(network)
    try:
        with precision.autocast():
            result = trial(fast)
        if result.requires_grad:
            torch.autograd.backward(result.float().sum())
    except Exception as error:  # whatever a compiler, its cache or a driver may raise: training continues without it
        logger.warning("%s is not compiled, which costs only speed: %s", type(network).__name__, first_line(error))
        return network
    finally:
        network.zero_grad(set_to_none=True)
    logger.info("%s is compiled", type(network).__name__)
    return fast


def first_line(error: Exception) -> str:
    """Kind and first line of an error."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"

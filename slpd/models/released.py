"""The names that HIPT's and SLPD's released checkpoints give to our parameters."""

import torch
from torch import Tensor

from slpd.errors import UserError

GAINS = ("weight_g", "parametrizations.weight.original0")  # weight norm, before and since torch 2.0
NEWER_DIRECTION = "parametrizations.weight.original1"


def from_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict under our names.

    The last layer's gains are fixed at 1 in the released recipe and no parameter here: they are checked and
    left out. Every other tensor has the same name and shape, but for a `module.` prefix.

    Raises:
        UserError: a gain is not 1, so our last layer would compute another function.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(GAINS):
            if not torch.all(tensor == 1):
                raise UserError(f"checkpoint tensor {name}: its values must all be 1 (norm_last_layer of DINO)")
            continue
        renamed[name.removeprefix("module.").replace(NEWER_DIRECTION, "weight_v")] = tensor
    return renamed

"""Sending small arrays to the device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def send(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on the device. From ordinary memory, the copy would wait for all work of a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

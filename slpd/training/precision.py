"""What numbers a step is computed in: float32 on CPUs, bfloat16 on GPUs that have it, else scaled float16."""

from contextlib import AbstractContextManager
from typing import Any

import torch


class Precision:
    """The type of a device's matrix products, and the scale that keeps small float16 gradients from vanishing.

    The scale is torch's: doubled after 2,000 steps with finite gradients and halved, its step left out, after one
    without. It never leaves the device, so no step waits for it.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.scaled = dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.scaled)  # if not enabled, it changes nothing

    @classmethod
    def of(cls, device: torch.device) -> "Precision":
        """What a device computes fastest without losing the result."""
        if device.type == "cpu":
            return cls(device, torch.float32)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if native else torch.float16)

    @property
    def of_products(self) -> torch.dtype:
        """The type for softmax over many outputs: their probabilities are too small for float16."""
        return torch.float32 if self.scaled else self.dtype

    def autocast(self) -> AbstractContextManager[None]:
        """Run a network in this precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def state_dict(self) -> dict[str, Any]:
        """Scale and steps since it changed; empty where nothing is scaled."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state; if it is of another precision, start with a fresh scale."""
        if state:
            self.scaler.load_state_dict(state)

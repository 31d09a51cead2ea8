"""What numbers a step is computed in: float32 on CPUs, bfloat16 on GPUs that have it, else scaled float16."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

FIRST_SCALE, STEPS_TO_GROW = 2.0**16, 2000  # torch.amp.GradScaler's


class Precision:
    """The type of a device's matrix products, and the scale that keeps small float16 gradients from vanishing.

    The scale is doubled after 2,000 steps with finite gradients and halved, its step left out, after one without.
    It never leaves the device, so no step waits for it.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.scaled = dtype == torch.float16
        self.scale = torch.full((), FIRST_SCALE if self.scaled else 1.0, device=device)
        self.steps_since_change = torch.zeros((), dtype=torch.int32, device=device)

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

    def overflow(self, norm: Tensor) -> Tensor | None:
        """() 1 where the gradients of a scaled step are not finite; adapts the scale. None: nothing is scaled."""
        if not self.scaled:
            return None
        overflow = (~norm.isfinite()).float()
        torch._amp_update_scale_(self.scale, self.steps_since_change, overflow, 2.0, 0.5, STEPS_TO_GROW)
        return overflow

    def state_dict(self) -> dict[str, Tensor]:
        """Scale and steps since it changed."""
        return {"scale": self.scale, "steps_since_change": self.steps_since_change}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over a state; one of another precision starts the scale anew."""
        if self.scaled:
            self.scale.copy_(state["scale"])
            self.steps_since_change.copy_(state["steps_since_change"])

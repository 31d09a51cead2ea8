"""The projection head of DINO (Caron et al. 2021): region vector -> unit bottleneck -> output logits."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slpd.models.weights import draw_truncated_normal


class UnitRowLinear(nn.Module):
    """Linear layer without bias whose rows have length 1: the weight-normed last layer with its gain fixed at 1."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(outputs, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., outputs): cosines, where x has length 1."""
        return F.linear(x, F.normalize(self.weight_v, dim=-1))

    def inverse_lengths(self) -> Tensor:
        """(outputs,) one by the length of each row."""
        lengths: Tensor = self.weight_v.norm(dim=1)
        return 1 / lengths.clamp(min=1e-12)  # as F.normalize


class ProjectionHead(nn.Module):
    """Three linear layers with GELU between, L2 normalisation (the *bottleneck*), and the last layer."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last_layer = UnitRowLinear(bottleneck, outputs)

    def bottleneck(self, vectors: Tensor) -> Tensor:
        """(B, width) region vectors -> (B, bottleneck) unit vectors, in which regions are clustered."""
        return F.normalize(self.mlp(vectors).float(), dim=-1)  # short vectors vanish in half precision

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, width) region vectors -> (B, outputs) logits."""
        return self.last_layer(self.bottleneck(vectors))  # type: ignore[no-any-return]

    def draw_weights(self, generator: torch.Generator) -> None:
        """Fill every parameter as DINO does; the last layer keeps torch's default for linear layers."""
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                draw_truncated_normal(module.weight, generator)
                nn.init.zeros_(module.bias)
        nn.init.kaiming_uniform_(self.last_layer.weight_v, a=math.sqrt(5), generator=generator)

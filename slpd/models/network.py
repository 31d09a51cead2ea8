"""Region encoder and projection head together: what student and teacher each are."""

import torch
from torch import Tensor, nn

from slpd.models.projection_head import ProjectionHead
from slpd.models.region_encoder import RegionViT
from slpd.settings.training import Features, RegionEncoder


class Network(nn.Module):
    """`backbone` (the region encoder) followed by `head`."""

    def __init__(self, settings: RegionEncoder, token_width: int) -> None:
        super().__init__()
        self.backbone = build_region_encoder(settings, token_width)
        self.head = ProjectionHead(settings.width, settings.head_width, settings.bottleneck, settings.outputs)

    def forward(self, tokens: Tensor, keep: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """(B, rows, columns, token width) -> (B, bottleneck) unit vectors; `keep` and `present` as in RegionViT."""
        return self.head.bottleneck(self.backbone(tokens, keep, present))

    def embed(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, rows, columns, token width) -> (B, width + bottleneck), region vectors next to their bottlenecks."""
        vectors = self.backbone(tokens, present=present)  # (B, width)
        return torch.cat([vectors, self.head.bottleneck(vectors)], dim=-1)

    def prototype_vectors(self, prototypes: Tensor, features: Features) -> Tensor:
        """(..., D) -> (..., bottleneck): prototypes as the last layer takes them; `features` is what they are of."""
        return prototypes if features == "bottleneck" else self.head.bottleneck(prototypes)

    def draw_weights(self, seed: int) -> None:
        """Fill every parameter from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        self.backbone.draw_weights(generator)
        self.head.draw_weights(generator)


def build_region_encoder(settings: RegionEncoder, token_width: int) -> RegionViT:
    """The region encoder of these settings, with undefined weights."""
    return RegionViT(token_width, settings.width, settings.depth, settings.heads, settings.position_grid)

"""How a patch's token is made of a ViT's tokens, where the ViT does not pool as its authors do."""

import torch
from torch import Tensor, nn

POOL = "attn_pool_contrast"  # CONCH's names of the pool and of the norm after it
NORM = "ln_contrast"
CONCH_WIDTH, CONCH_HEADS = 512, 8  # of CONCH's contrastive pool


class AttentionPool(nn.Module):
    """One learned query that attends to all tokens: CONCH's contrastive pool (Lu et al. 2024), by its names.

    Its output is the embedding before CONCH's projection to text, which the authors advise for tasks on images alone.
    """

    def __init__(self, width: int) -> None:
        """Build the pool of tokens of `width` values."""
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(1, CONCH_WIDTH))
        self.attn = nn.MultiheadAttention(CONCH_WIDTH, CONCH_HEADS, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(CONCH_WIDTH)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) tokens -> (B, 512)."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), 1, CONCH_WIDTH)
        summary: Tensor = self.attn(query, keys, keys, need_weights=False)[0]  # (B, 1, 512)
        return summary[:, 0]


def add_pool(model: nn.Module, pooling: str) -> None:
    """Give a timm ViT the layers that its pooling needs.

    Raises:
        ValueError: the model is no ViT.
    """
    if pooling != "model" and not hasattr(model, "num_prefix_tokens"):
        raise ValueError(f"patch_encoder.pooling {pooling} is for ViTs; set it to model")
    if pooling == "attention":
        model.add_module(POOL, AttentionPool(int(model.num_features)))  # type: ignore[arg-type]
        model.add_module(NORM, nn.LayerNorm(CONCH_WIDTH))


def pooled(model: nn.Module, patches: Tensor, pooling: str) -> Tensor:
    """A token per patch.

    Args:
        model: The timm model, after `add_pool`.
        patches: (B, 3, patch_px, patch_px), normalised.
        pooling: `patch_encoder.pooling`.

    Returns:
        (B, D).
    """
    if pooling == "model":
        return model(patches)  # type: ignore[no-any-return]
    tokens: Tensor = model.forward_features(patches)  # type: ignore[operator]  # (B, 1 + registers + N, D)
    if pooling == "attention":
        return model.get_submodule(NORM)(model.get_submodule(POOL)(tokens))  # type: ignore[no-any-return]
    return torch.cat([tokens[:, 0], tokens[:, model.num_prefix_tokens :].mean(1)], dim=1)

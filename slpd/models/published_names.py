"""Tensors of published ViTs that are not named as timm names them."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

TRANSFORMERS = {  # Dinov2Model of transformers (Phikon-v2) -> timm
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"encoder\.layer\.(\d+)\.attention\.attention\.qkv\.": r"blocks.\1.attn.qkv.",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense\.": r"blocks.\1.attn.proj.",
    r"encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1": r"blocks.\1.ls\2.gamma",
    r"encoder\.layer\.(\d+)\.": r"blocks.\1.",
    r"layernorm\.": "norm.",
}
UNUSED_OF_TRANSFORMERS = "embeddings.mask_token"  # of pretraining

CONCH = ("visual.trunk.", "visual.")  # its ViT; its poolers beside it
UNUSED_OF_CONCH = ("visual.proj_contrast", "visual.attn_pool_caption.", "visual.ln_caption.")  # to text


def timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under timm's names: of a Dinov2Model of transformers, of CONCH's vision tower; of others as they are."""
    if "embeddings.cls_token" in weights:
        return {renamed(name): tensor for name, tensor in joined(weights).items() if name != UNUSED_OF_TRANSFORMERS}
    if "visual.trunk.cls_token" in weights:
        tower = {name: tensor for name, tensor in weights.items() if name.startswith(CONCH)}
        return {
            name.removeprefix(CONCH[0]).removeprefix(CONCH[1]): tensor
            for name, tensor in tower.items()
            if not name.startswith(UNUSED_OF_CONCH)
        }
    return dict(weights)


def renamed(name: str) -> str:
    """A name of transformers as timm's; one that it does not have stays."""
    for pattern, timm_name in TRANSFORMERS.items():
        if match := re.match(pattern, name):
            return match.expand(timm_name) + name[match.end() :]
    return name


def joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of each block as one tensor, in this order, as timm has them."""
    together = dict(weights)
    for name in weights:
        if ".attention.attention.query." in name:
            parts = [together.pop(name.replace(".query.", f".{part}."), None) for part in ("query", "key", "value")]
            if present := [part for part in parts if part is not None]:
                together[name.replace(".query.", ".qkv.")] = torch.cat(present)
    return together

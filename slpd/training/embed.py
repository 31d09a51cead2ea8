"""Embedding regions with a trained network."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.errors import UserError
from slpd.method.processes import gather_at_first
from slpd.method.views import centre_crops, cut_masks, cut_views
from slpd.training.memory import SHARE, free_bytes
from slpd.training.token_store import TokenStore

logger = logging.getLogger(__name__)

BATCH = {"cpu": 64, "cuda": 1024}  # most regions at a time
# Bytes of a patch on a GPU, as torch reserves them in float32. Per value of its token: four batches in half precision
# on their way, their crop in half and in single. Per unit of width: a block's residuals, norms and both perceptrons.
TOKEN_BYTES, WIDTH_BYTES = 16, 68


def batch_size(device: torch.device, cohort: CohortTokens, width: int) -> int:
    """How many of a cohort's regions an encoder of some width embeds at a time.

    Halved until it fits what is free on a GPU, so that the sizes, with which rounding may change, are few.
    """
    size = BATCH[device.type]
    if device.type == "cpu":
        return size
    torch.cuda.empty_cache()  # what a step of training has left is free
    fits = SHARE * free_bytes(device) / (cohort.grid**2 * (cohort.width * TOKEN_BYTES + width * WIDTH_BYTES))
    while size > max(1, fits):
        size //= 2
    logger.info("%d regions embedded at a time", size)
    return size


@torch.no_grad()
def embed_in_batches(
    encode: Callable[..., Tensor],
    width: int,
    tokens: TokenStore,
    regions: NDArray[np.int64],
    cohort: CohortTokens,
    crop: int,
) -> Iterator[NDArray[np.float32]]:
    """What an encoder says of regions, from their centre crops.

    Args:
        encode: (B, crop, crop, token width) float32 tokens, and as `present` (B, crop, crop) -> (B, ...).
        width: Of the encoder, by which memory is planned.
        tokens: Of these regions at least.
        regions: (n,) which to embed.
        cohort: Theirs; for absent patches and shapes.
        crop: Side of the crop, patches; the grid's side takes the whole region.

    Yields:
        (B, ...) of some regions, in order.
    """
    size = batch_size(tokens.device, cohort, width)
    batches = np.split(regions, range(size, len(regions), size))
    for batch, (held, places) in zip(batches, tokens.fetch(batches), strict=True):
        mask = None if cohort.present is None else cohort.present[batch]
        crops = centre_crops(len(places), crop, held.shape[1], mask)
        view = cut_views(held, places, crops)[0]
        seen = None if mask is None else cut_masks(mask, crops, held.device)[0]
        yield encode(view.float(), present=seen).float().cpu().numpy()


def embed_regions(
    encode: Callable[..., Tensor],
    width: int,
    tokens: TokenStore,
    regions: NDArray[np.int64],
    cohort: CohortTokens,
    crop: int,
) -> NDArray[np.float32]:
    """One vector per region, (n, D); arguments as for `embed_in_batches`."""
    return np.concatenate(list(embed_in_batches(encode, width, tokens, regions, cohort, crop)))


def refuse_infinite_vectors(vectors: NDArray[np.float32], cohort: CohortTokens, first: int = 0) -> None:
    """Refuse (n, D) vectors of a cohort's regions, from `first` on, that are not finite, by slide and region."""
    bad = first + np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"{len(bad)} regions have embeddings that are not finite; look for such values in their tokens, delete the"
            " token files, then run with --forcerun encode_patches; regions (slide: numbers):"
            f" {cohort.describe_regions(bad)}"
        )


def embed_cohort(
    encode: Callable[..., Tensor],
    width: int,
    tokens: TokenStore,
    own: NDArray[np.int64],
    cohort: CohortTokens,
    crop: int,
) -> NDArray[np.float32] | None:
    """`embed_regions` of the whole cohort, each process its own regions.

    Returns:
        (R, D) in the first process; None in the others.
    """
    shares = gather_at_first((own, embed_regions(encode, width, tokens, own, cohort, crop)))
    if shares is None:
        return None
    vectors = np.empty((cohort.n_regions, shares[0][1].shape[1]), np.float32)
    for regions, values in shares:
        vectors[regions] = values
    return vectors

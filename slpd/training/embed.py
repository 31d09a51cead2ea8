"""Embedding regions with a trained network."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.errors import UserError
from slpd.method.processes import gather_at_first
from slpd.method.views import centre_crops, cut_masks, cut_views
from slpd.training.token_store import TokenStore

BATCH = {"cpu": 64, "cuda": 1024}  # regions at a time: bounds memory, changes nothing else


@torch.no_grad()
def embed_in_batches(
    encode: Callable[..., Tensor],
    tokens: TokenStore,
    regions: NDArray[np.int64],
    crop: int,
    present: NDArray[np.bool_] | None,
) -> Iterator[NDArray[np.float32]]:
    """What an encoder says of regions, from their centre crops.

    Args:
        encode: (B, crop, crop, token width) float32 tokens, and as `present` (B, crop, crop) -> (B, ...).
        tokens: Of these regions at least.
        regions: (n,) which to embed.
        crop: Side of the crop, patches; the grid's side takes the whole region.
        present: (R, grid, grid) False where a patch of the cohort's regions is absent; None: none is.

    Yields:
        (B, ...) of some regions, in order.
    """
    size = BATCH[tokens.device.type]
    batches = np.split(regions, range(size, len(regions), size))
    for batch, (held, places) in zip(batches, tokens.fetch(batches), strict=True):
        mask = None if present is None else present[batch]
        crops = centre_crops(len(places), crop, held.shape[1], mask)
        view = cut_views(held, places, crops)[0]
        seen = None if mask is None else cut_masks(mask, crops, held.device)[0]
        yield encode(view.float(), present=seen).float().cpu().numpy()


def embed_regions(
    encode: Callable[..., Tensor],
    tokens: TokenStore,
    regions: NDArray[np.int64],
    crop: int,
    present: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """One vector per region, (n, D); arguments as for `embed_in_batches`."""
    return np.concatenate(list(embed_in_batches(encode, tokens, regions, crop, present)))


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
    encode: Callable[..., Tensor], tokens: TokenStore, own: NDArray[np.int64], cohort: CohortTokens, crop: int
) -> NDArray[np.float32] | None:
    """`embed_regions` of the whole cohort, each process its own regions.

    Returns:
        (R, D) in the first process; None in the others.
    """
    shares = gather_at_first((own, embed_regions(encode, tokens, own, crop, cohort.present)))
    if shares is None:
        return None
    vectors = np.empty((cohort.n_regions, shares[0][1].shape[1]), np.float32)
    for regions, values in shares:
        vectors[regions] = values
    return vectors

"""Compute a region encoder's attention: that of its last block over the patches of every region."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.patch_attention import write_patch_attention
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens, open_cohort_tokens
from slpd.models.encoder_files import read_encoder
from slpd.models.region_encoder import RegionViT
from slpd.training.devices import training_device
from slpd.training.embed import embed_in_batches, refuse_infinite_vectors
from slpd.training.token_store import TokenStore, open_token_store

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `attend_patches`."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--teacher", type=Path, required=True, help="weights of the region encoder (.safetensors)")
    parser.add_argument("--out", type=Path, required=True, help="attention to write (.h5)")


def run(args: argparse.Namespace) -> None:
    """Attend to the full token grid of every region, as `embed_bags` embeds it."""
    cohort = open_cohort_tokens(args.manifest)
    encoder = read_encoder(args.teacher, cohort)
    shape = encoder.heads, cohort.grid**2
    with training_device() as device:
        tokens = open_token_store(cohort, np.arange(cohort.n_regions), device, "disk", reserve=0)  # each is read once
        attention = attend(encoder.to(device), tokens, cohort)
        write_patch_attention(args.out, cohort.slides, cohort.offsets, shape, attention)
    logger.info("%d regions of %d slides, %d heads, %d patches", cohort.n_regions, len(cohort.slides), *shape)


def attend(encoder: RegionViT, tokens: TokenStore, cohort: CohortTokens) -> Iterator[NDArray[np.float16]]:
    """(n, heads, P) of the cohort's regions in order, some at a time; nan where a patch is absent."""
    regions, done = np.arange(cohort.n_regions), 0
    encode = encoder.class_attention
    for attention in embed_in_batches(encode, encoder.width, tokens, regions, cohort, cohort.grid):
        refuse_infinite_vectors(attention.reshape(len(attention), -1), cohort, first=done)
        half = attention.astype(np.float16)
        if cohort.present is not None:
            absent = ~cohort.present[done : done + len(half)].reshape(len(half), 1, -1)
            np.copyto(half, np.nan, where=absent)
        done += len(half)
        yield half

"""The patch tokens of a whole cohort, read from the token files of its manifest into one array."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.manifest import used_slides
from slpd.artifacts.tokens import open_tokens, read_source
from slpd.errors import UserError


@dataclass(frozen=True)
class CohortTokens:
    """Tokens of R regions of S slides, slides one after the other in order of slide id."""

    slides: list[str]
    offsets: NDArray[np.int64]  # (S + 1,) slide s holds regions offsets[s] to offsets[s + 1]
    fingerprints: list[str]  # of the slides' token files
    features: NDArray[np.float16]  # (R, grid, grid, D)

    def describe_regions(self, regions: NDArray[np.int64]) -> str:
        """Regions by slide, for messages: `slide_1: 0 4; slide_7: 12`."""
        slide = np.searchsorted(self.offsets, regions, side="right") - 1
        places = regions - self.offsets[slide]
        return "; ".join(
            f"{self.slides[s]}: {' '.join(map(str, sorted(places[slide == s].tolist())))}" for s in np.unique(slide)
        )


def read_cohort_tokens(manifest: Path) -> CohortTokens:
    """Read the tokens of every used slide.

    Raises:
        UserError: no slide is used, or a file differs in shape from the first, or its regions are not square.
    """
    rows = used_slides(manifest)
    if not rows:
        raise UserError(f"{manifest}: no slide is used; see the reasons in its status and reason columns")
    paths = [row.tokens or Path() for row in rows]  # used slides have a token file
    shapes = [read_shape(path) for path in paths]
    for path, shape in zip(paths, shapes, strict=True):
        if shape[1:] != shapes[0][1:] or math.isqrt(shape[1]) ** 2 != shape[1]:
            raise UserError(
                f"token file {path}: features are {shape}, expected (n, {shapes[0][1]}, {shapes[0][2]}) with a square"
                " number of patches, as in the first slide; run with --forcerun encode_patches"
            )
    offsets = np.concatenate([[0], np.cumsum([shape[0] for shape in shapes])]).astype(np.int64)
    features = np.empty((offsets[-1], *shapes[0][1:]), np.float16)
    for path, start, stop in zip(paths, offsets[:-1], offsets[1:], strict=True):
        if start < stop:
            with open_tokens(path) as file:
                file["features"].read_direct(features, dest_sel=np.s_[start:stop])
    grid = math.isqrt(shapes[0][1])
    fingerprints = [read_source(path).fingerprint for path in paths]
    slides = [row.record.slide for row in rows]
    return CohortTokens(slides, offsets, fingerprints, features.reshape(len(features), grid, grid, -1))


def read_shape(path: Path) -> tuple[int, int, int]:
    """Regions, patches per region and token width of a token file."""
    with open_tokens(path) as file:
        n_regions, n_patches, width = file["features"].shape
    return n_regions, n_patches, width

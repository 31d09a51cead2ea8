"""The patch tokens of a whole cohort, in the token files of its manifest."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.checksums import damaged_slides
from slpd.artifacts.disk import raise_if_away
from slpd.artifacts.patch_tokens.token_file import (
    open_tokens,
    read_coords,
    read_present,
    sharp_regions,
    stated_source,
)
from slpd.artifacts.slides.manifest import used_slides
from slpd.errors import UserError, first_of

Stamp = tuple[int, int, int]  # inode, size and time of change: another file differs in one of them
CHECKING = 2  # files checked at a time: training has two threads
NAMED = 3  # files in a message
OPEN_MAPS = 256  # files mapped at a time: below the usual limit of open files


@dataclass(frozen=True)
class CohortTokens:
    """Where the tokens of R regions of S slides lie, slides one after the other in order of slide id."""

    slides: list[str]
    offsets: NDArray[np.int64]  # (S + 1,) slide s holds regions offsets[s] to offsets[s + 1]
    fingerprints: list[str]  # of the slides' token files
    paths: list[Path]
    starts: list[int]  # byte at which the tokens of a file start
    stamps: list[Stamp]  # of the files as they were opened
    grid: int  # patches along a region's side
    width: int  # of a token
    places: list[NDArray[np.int64]] | None = None  # of the slides' regions in their files; None: all, in order
    present: NDArray[np.bool_] | None = None  # (R, grid, grid) False where a patch is absent; None: none is

    @property
    def n_regions(self) -> int:
        """R."""
        return int(self.offsets[-1])

    @property
    def region_bytes(self) -> int:
        """Bytes of one region's tokens."""
        return self.grid**2 * self.width * np.dtype(np.float16).itemsize

    def slide_of(self, regions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of each region's slide."""
        return np.searchsorted(self.offsets, regions, side="right") - 1

    def read_slide(self, slide: int, regions: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n, grid, grid, width) the tokens of n of a slide's regions, numbered within the slide."""
        n_mapped = int(self.offsets[slide + 1] - self.offsets[slide])
        if self.places is not None:
            n_mapped, regions = int(self.places[slide][-1]) + 1, self.places[slide][regions]
        shape = (n_mapped, self.grid, self.grid, self.width)
        return map_tokens(self.paths[slide], self.starts[slide], shape, self.stamps[slide])[regions]

    def by_slide(self, regions: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float16]]]:
        """The tokens of some regions in order, slide after slide, each with its place among `regions`.

        Args:
            regions: Sorted.
        """
        bounds = np.searchsorted(regions, self.offsets)
        for slide in np.flatnonzero(np.diff(bounds)).tolist():
            part = slice(int(bounds[slide]), int(bounds[slide + 1]))
            yield part, self.read_slide(slide, regions[part] - self.offsets[slide])

    def describe_regions(self, regions: NDArray[np.int64]) -> str:
        """Regions by slide, for messages: `slide_1: 0 4; slide_7: 12`."""
        slide = self.slide_of(regions)
        places = regions - self.offsets[slide]
        return "; ".join(
            f"{self.slides[s]}: {' '.join(map(str, sorted(places[slide == s].tolist())))}" for s in np.unique(slide)
        )


@lru_cache(maxsize=OPEN_MAPS)
def map_tokens(path: Path, start: int, shape: tuple[int, ...], stamp: Stamp) -> NDArray[np.float16]:
    """A file's tokens, mapped into memory.

    Raises:
        UserError: the file is not the one that was opened first.
    """
    if file_stamp(path) != stamp:
        raise UserError(f"token file {path}: was changed while it was used; run again")
    return np.memmap(path, np.float16, "r", start, shape)


def open_cohort_tokens(manifest: Path) -> CohortTokens:
    """Find the tokens of every used slide, of its regions that are sharp enough.

    Raises:
        UserError: no slide is used, or a file differs in shape from the first, or its regions are not square.
    """
    rows = used_slides(manifest)
    if not rows:
        raise UserError(f"{manifest}: no slide is used; see the reasons in its status and reason columns")
    paths = [row.tokens or Path() for row in rows]  # used slides have a token file
    heads, stamps = [read_layout(path) for path in paths], [file_stamp(path) for path in paths]
    shapes = [head[0] for head in heads]
    for path, shape in zip(paths, shapes, strict=True):
        if shape[1:] != shapes[0][1:] or math.isqrt(shape[1]) ** 2 != shape[1]:
            raise UserError(
                f"token file {path}: features are {shape}, expected (n, {shapes[0][1]}, {shapes[0][2]}) with a square"
                " number of patches, as in the first slide; run with --forcerun encode_patches"
            )
    places = None
    if any(row.record.min_sharpness for row in rows):
        places = [sharp_regions(path, row.record.min_sharpness or 0) for path, row in zip(paths, rows, strict=True)]
    counts = [shape[0] for shape in shapes] if places is None else [len(of_slide) for of_slide in places]
    grid = math.isqrt(shapes[0][1])
    return CohortTokens(
        slides=[row.record.slide for row in rows],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        fingerprints=[fingerprint for _, _, fingerprint in heads],
        paths=paths,
        starts=[start for _, start, _ in heads],
        stamps=stamps,
        grid=grid,
        width=shapes[0][2],
        places=places,
        present=read_cohort_present(paths, counts, places, grid),
    )


def read_cohort_present(
    paths: list[Path], counts: list[int], places: list[NDArray[np.int64]] | None, grid: int
) -> NDArray[np.bool_] | None:
    """Which patches of a cohort's regions are present, as `CohortTokens` has it.

    Args:
        paths: Token files.
        counts: Regions used of each.
        places: Which these are; None: all.
        grid: Patches along a region's side.
    """
    masks = [read_present(path) for path in paths]
    if all(mask is None for mask in masks):
        return None
    present = np.ones((sum(counts), grid**2), bool)
    for slide, (mask, end) in enumerate(zip(masks, np.cumsum(counts).tolist(), strict=True)):
        if mask is not None:
            present[end - counts[slide] : end] = mask if places is None else mask[places[slide]]
    return present.reshape(-1, grid, grid)


def refuse_damaged(cohort: CohortTokens, part: slice) -> None:
    """Compare the tokens of every slide with their checksums; reads whole files.

    Args:
        cohort: The token files.
        part: The slides to check; processes share them out.

    Raises:
        UserError: naming slides and files.
    """
    paths = cohort.paths[part]
    with ThreadPoolExecutor(CHECKING) as pool:
        damaged = [f"{path} ({fault})" for path, fault in zip(paths, pool.map(fault_of, paths), strict=True) if fault]
    if damaged:
        raise UserError(
            f"token files changed on the disk since they were written: {first_of(damaged, NAMED)}; delete them, then"
            " run with --forcerun encode_patches (of imported tokens: import_tokens)"
        )


def fault_of(path: Path) -> str:
    """What is wrong with the values of a token file; empty: nothing, or it is of an earlier release.

    Raises:
        OSError: its disk is away.
    """
    try:
        return ", ".join(f"slide {slide}" for slide in damaged_slides(path))
    except OSError as error:
        raise_if_away(path, error)
        return str(error)


def file_stamp(path: Path) -> Stamp:
    """How a file is told from one that takes its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_cohort_coords(manifest: Path) -> dict[str, NDArray[np.int64]]:
    """Slide -> (n, 2) upper left corners of its regions in `open_cohort_tokens`, level-0 pixels."""
    coords = {}
    for row in used_slides(manifest):
        assert row.tokens, "used slides have a token file"
        coords[row.record.slide] = read_coords(row.tokens)[sharp_regions(row.tokens, row.record.min_sharpness or 0)]
    return coords


def read_layout(path: Path) -> tuple[tuple[int, int, int], int, str]:
    """Shape of a token file's features, the byte at which they start, and its fingerprint."""
    with open_tokens(path) as file:
        features = file["features"]
        start = features.id.get_offset()
        if start is None or features.dtype != np.float16:
            raise UserError(
                f"token file {path}: features are not contiguous float16 values, as encode_patches and import_tokens"
                " write them; run with --forcerun on that rule"
            )
        return features.shape, start, str(stated_source(file)["fingerprint"])

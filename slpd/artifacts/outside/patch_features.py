"""Features of single patches made elsewhere, of which regions are made: CLAM's and TRIDENT's `features`, `coords`.

`features` are (N, D) or (1, N, D), `coords` (N, 2) the upper left corners of the patches in level-0 pixels. TRIDENT
states the size of a patch in attributes of `coords`. CLAM's files of features have none, so that the sheet's mpp tells.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slpd.artifacts.outside.token_fault import fault
from slpd.artifacts.patch_tokens.token_information import TokenInformation
from slpd.geometry.lattice import ABSENT, PatchRegions, group_patches, lattice_step, n_overlapping

# Names as in TRIDENT 0.2 (`coords_to_h5`); `downsample` is CLAM's, of the level that its patches are read from.
ATTRIBUTES = (
    *("patch_size", "patch_size_level0", "level0_magnification", "target_magnification"),
    *("overlap", "downsample"),
)
NOMINAL = 1.3  # "20x" is 0.4 to 0.65 µm/px, depending on the scanner
SAME_MPP = 1.05
MOST_OVERLAPPING = 0.2  # of a slide's patches: contours of CLAM that are close overlap at their edges
MOST_REPEATED = 0.5  # of a slide's patches


@dataclass(frozen=True)
class AskedRegions:
    """What the config makes of patches."""

    side: int  # patches along a region's side
    patch_px: int
    mpp: float  # µm per pixel that patches are read at
    min_share: float  # least share of a region's patches that are present


@dataclass(frozen=True)
class PatchFeatures:
    """An open file of patch features as regions, which are read one by one."""

    slide: str
    path: Path
    features: Any  # HDF5 dataset or tensor, (N, D) or (1, N, D)
    regions_of: PatchRegions
    stated: dict[str, Any]  # fields of TokenSource that follow from the file, sheet and config
    min_share: float  # of its patches that a region has at least
    information: TokenInformation = field(default_factory=TokenInformation)  # of the regions that were read

    @property
    def shape(self) -> tuple[int, int, int]:
        """Regions, patches per region and token width, (N, P, D)."""
        return *self.regions_of.patches.shape, self.features.shape[-1]

    @property
    def coords(self) -> NDArray[np.int64]:
        """(N, 2) corners of the regions, level-0 pixels."""
        return self.regions_of.corners

    @property
    def n_excluded(self) -> int:
        """Regions with too few patches."""
        return self.regions_of.n_excluded

    @property
    def grouping(self) -> str:
        """All that decides which patches make which regions, besides the file."""
        return f" {self.stated['region_lv0']} {self.shape[1]} {self.min_share}"

    @property
    def summary(self) -> str:
        """How many patches the regions have, for people."""
        return f"; {self.present.sum()} of {self.features.shape[-2]} patches are in them"

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N, P) which patches the file has."""
        present: NDArray[np.bool_] = self.regions_of.patches != ABSENT
        return present

    def regions(self) -> Iterator[NDArray[np.float16]]:
        """The (P, D) tokens of every region, 0 where a patch is absent.

        Raises:
            SlideError: a token is not finite, or beyond float16; at the end: patches or regions hold no information.
        """
        seen: set[bytes] = set()
        for patches in self.regions_of.patches:
            here = np.flatnonzero(patches != ABSENT)
            tokens = self.read(patches[here])
            with np.errstate(over="ignore"):
                half = tokens.astype(np.float16)
            if not np.isfinite(half).all():
                bad = patches[here][~np.isfinite(half).all(axis=1)][0]
                raise fault(self.slide, self.path, f"patch {bad} has features that are not finite or beyond 65504")
            self.information.add(tokens, half)
            seen.update(blake2b(row, digest_size=8).digest() for row in half)
            region = np.zeros((len(patches), half.shape[1]), np.float16)
            region[here] = half
            yield region
        n_patches = int(self.present.sum())
        faults = self.information.faults
        if not faults and n_patches - len(seen) > MOST_REPEATED * n_patches:
            faults = f"{n_patches - len(seen)} of {n_patches} patches repeat another patch"
        if faults:
            raise fault(self.slide, self.path, f"{faults}, as files of extractions that were killed do")

    def read(self, patches: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, D) features of some patches. Neighbours in the file are read together: h5py is slow row by row."""
        order = np.argsort(patches)
        runs = np.split(patches[order], np.flatnonzero(np.diff(patches[order]) != 1) + 1)
        try:
            pieces = [self._rows(int(run[0]), int(run[-1]) + 1) for run in runs]
        except OSError as error:
            raise fault(self.slide, self.path, f"features cannot be read ({error})") from error
        tokens = np.empty((len(patches), self.features.shape[-1]), pieces[0].dtype)
        tokens[order] = np.concatenate(pieces)
        return tokens

    def _rows(self, start: int, stop: int) -> NDArray[np.floating]:
        rows = self.features[0, start:stop] if len(self.features.shape) == 3 else self.features[start:stop]
        return rows.float().numpy() if isinstance(rows, torch.Tensor) else rows


def holds_patches(shape: tuple[int, ...], coords: NDArray[Any] | None) -> bool:
    """Whether features of a shape are of single patches: coords tell a bag of them from one region."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 1 and coords is not None and coords.shape[-2:-1] != (1,))


def stated_attributes(attributes: Mapping[str, Any]) -> dict[str, float]:
    """The attributes of `coords` about patches that are numbers; TRIDENT writes 'None' for what it does not know.

    Raises:
        ValueError: one is an array of several values, negative or not finite.
    """
    given = {name: np.asarray(attributes[name]) for name in ATTRIBUTES if name in attributes}
    numbers = {name: float(value.item()) for name, value in given.items() if value.dtype.kind in "iuf"}
    for name, number in numbers.items():
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} is {number:g}")
    return numbers


def make_regions(
    slide: str,
    path: Path,
    features: Any,  # noqa: ANN401 - HDF5 dataset or tensor
    corners: NDArray[np.int64],
    attributes: Mapping[str, float],
    sheet_mpp: float | None,
    asked: AskedRegions,
) -> PatchFeatures:
    """Regions of the patches of a file.

    Args:
        slide: Its id.
        path: The file.
        features: (N, D) or (1, N, D).
        corners: (N, 2) of the patches, level-0 pixels, all different.
        attributes: As `stated_attributes` gives them.
        sheet_mpp: µm per level-0 pixel by the sheet; None: not given.
        asked: By the config.

    Raises:
        SlideError: size or resolution of patches are missing or contradict each other, patches overlap, or no region
            has enough of them.
    """
    try:
        if (corners < 0).any():
            raise ValueError("coords are negative, expected corners of patches in level-0 pixels")
        refuse_other_patches(attributes, sheet_mpp, asked)
        slide_mpp = level0_mpp(attributes, sheet_mpp)
        step = patch_step(corners, stated_side(attributes), slide_mpp, asked)
    except ValueError as error:
        raise fault(slide, path, str(error)) from error
    if (n_over := n_overlapping(corners, step)) > MOST_OVERLAPPING * len(corners):
        raise fault(
            slide,
            path,
            f"{n_over} of {len(corners)} patches lie partly on others: coords of two grids are in one file; make the"
            " features again from one",
        )
    regions = group_patches(corners, step, asked.side, asked.min_share)
    if not len(regions.corners):
        raise fault(
            slide,
            path,
            f"of {len(corners)} patches no region of {asked.side} x {asked.side} has"
            f" {100 * asked.min_share:.0f} % (regions.min_tissue)",
        )
    stated = {
        "patch_px": asked.patch_px,
        "region_px": asked.side * asked.patch_px,
        "region_lv0": asked.side * step,
        "slide_mpp": slide_mpp,
        "requested_mpp": asked.mpp,
        "effective_mpp": slide_mpp * step / asked.patch_px,
    }
    return PatchFeatures(slide, path, features, regions, stated, asked.min_share)


def level0_mpp(attributes: Mapping[str, float], sheet_mpp: float | None) -> float:
    """µm per level-0 pixel: the sheet's, else by the magnification, where 10x is 1 µm.

    Raises:
        ValueError: neither is known.
    """
    magnification = attributes.get("level0_magnification")
    if not sheet_mpp and not magnification:
        raise ValueError(
            "µm per level-0 pixel is not known: coords have no attribute level0_magnification; fill the sheet's mpp"
            " column"
        )
    return sheet_mpp or 10 / float(magnification or 0)


def refuse_other_patches(attributes: Mapping[str, float], sheet_mpp: float | None, asked: AskedRegions) -> None:
    """Refuse patches that overlap, or that are others than the config's.

    Raises:
        ValueError: naming attribute and key.
    """
    size, target = attributes.get("patch_size"), attributes.get("target_magnification")
    level0 = attributes.get("level0_magnification")
    if attributes.get("overlap"):
        raise ValueError(
            f"patches overlap by {attributes['overlap']:g} px, expected overlap 0; make the features again without"
        )
    if size and target and size != asked.patch_px:
        raise ValueError(
            f"patch_size is {size:g} px, but patch_encoder.patch_px is {asked.patch_px}; set it to {size:g}, and"
            f" regions.region_px to {asked.side} times that"
        )
    if target and differ(10 / target, asked.mpp, SAME_MPP):
        raise ValueError(
            f"target_magnification is {target:g}, {10 / target:g} µm/px, but regions.mpp is {asked.mpp:g}; set"
            " regions.mpp as the features were made"
        )
    if level0 and sheet_mpp and differ(10 / level0, sheet_mpp, NOMINAL):
        raise ValueError(
            f"level0_magnification is {level0:g}, about {10 / level0:g} µm/px, but the sheet's mpp is {sheet_mpp:g}"
        )


def patch_step(corners: NDArray[np.int64], exact: float | None, slide_mpp: float, asked: AskedRegions) -> int:
    """The side of a patch in level-0 pixels, which is the distance between neighbours.

    Args:
        corners: (N, 2) of the patches, level-0 pixels.
        exact: The side that attributes state; None: none does.
        slide_mpp: µm per level-0 pixel.
        asked: By the config.

    Raises:
        ValueError: attributes, coords, resolution and config contradict each other.
    """
    step, by_config = lattice_step(corners), asked.patch_px * asked.mpp / slide_mpp
    if exact and step and abs(step - exact) > 1:
        how = "overlap" if step < exact else "leave gaps"
        raise ValueError(f"patches are {step} level-0 px apart and {exact:g} wide: they {how}, expected a plain grid")
    side = step or round(exact or by_config)
    if differ(side, by_config, NOMINAL):
        raise ValueError(
            f"patches are {side} level-0 px apart, but {asked.patch_px} px (patch_encoder.patch_px) at {asked.mpp:g}"
            f" µm/px (regions.mpp) on a slide of {slide_mpp:g} µm/px are {by_config:.0f}: they overlap, or are of"
            " another size or magnification; set both keys as the features were made"
        )
    return side


def stated_side(attributes: Mapping[str, float]) -> float | None:
    """The side of a patch in level-0 pixels as attributes state it; None: they do not.

    Raises:
        ValueError: they contradict each other.
    """
    size, level0, target = (
        attributes.get(name) for name in ("patch_size", "level0_magnification", "target_magnification")
    )
    by_magnification = size * level0 / target if size and level0 and target else None
    by_level = size * attributes["downsample"] if size and attributes.get("downsample") else None
    given = [side for side in (attributes.get("patch_size_level0"), by_magnification, by_level) if side]
    if given and max(given) - min(given) > 1:
        raise ValueError(
            f"patch_size_level0 is {given[0]:g}, but patch_size, magnifications and downsample make {given[-1]:g} px"
        )
    return given[0] if given else None


def differ(one: float, other: float, factor: float) -> bool:
    """Whether two lengths differ by more than a factor."""
    return abs(math.log(one / other)) > math.log(factor)

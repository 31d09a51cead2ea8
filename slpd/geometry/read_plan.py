"""How a region is read: from which level of the pyramid, and how many pixels of it become the region."""

from collections.abc import Sequence
from dataclasses import dataclass

COARSER_TOLERANCE = 0.05  # a level up to 5 % coarser than asked counts as fine enough (0.5 asked, 0.525 read)


@dataclass(frozen=True)
class ReadPlan:
    """How the regions of one slide are read."""

    level: int
    level_px: int  # side of the square read from the level
    region_px: int  # side after area resampling
    region_lv0: int  # side in level-0 pixels
    read_mpp: float  # µm per pixel of the level
    effective_mpp: float  # µm per pixel after resampling


def region_size_lv0(region_px: int, target_mpp: float, slide_mpp: float) -> int:
    """Side of a region in level-0 pixels.

    Args:
        region_px: Side at `target_mpp`, in pixels (4096 in the paper).
        target_mpp: Resolution to read at, in µm per pixel.
        slide_mpp: Resolution of the slide's level 0, in µm per pixel.
    """
    return round(region_px * target_mpp / slide_mpp)


def fine_enough(mpp: float, requested_mpp: float) -> bool:
    """Whether pixels of `mpp` can serve a request for `requested_mpp` without inventing detail."""
    return mpp <= requested_mpp * (1 + COARSER_TOLERANCE)


def coarsest_level(slide_mpp: float, downsamples: Sequence[float], requested_mpp: float) -> int:
    """The coarsest level that is fine enough; level 0 if none is.

    Args:
        slide_mpp: µm per level-0 pixel.
        downsamples: Level-0 pixels per pixel of each level, ascending.
        requested_mpp: µm per pixel.
    """
    fine = [level for level, downsample in enumerate(downsamples) if fine_enough(slide_mpp * downsample, requested_mpp)]
    return max(fine, default=0)


def plan_read(slide_mpp: float, downsamples: Sequence[float], requested_mpp: float, region_px: int) -> ReadPlan:
    """Plan the reading of regions of `region_px` at `requested_mpp`; arguments as for `coarsest_level`."""
    level = coarsest_level(slide_mpp, downsamples, requested_mpp)
    region_lv0 = region_size_lv0(region_px, requested_mpp, slide_mpp)
    return ReadPlan(
        level=level,
        level_px=max(1, round(region_lv0 / downsamples[level])),
        region_px=region_px,
        region_lv0=region_lv0,
        read_mpp=slide_mpp * downsamples[level],
        effective_mpp=slide_mpp * region_lv0 / region_px,
    )

"""The resolution of a slide: from the cohort sheet, or else from the file. Without either the slide is refused."""

import math

from slpd.errors import SlideError

LEAST_MPP, GREATEST_MPP = 0.1, 10.0  # µm/px; scanners for histology lie between 0.1 (100x) and 10 (1x)
PRINTERS_DPI = (72, 96, 100, 150, 200, 300, 600, 1200)
MPP_ANISOTROPY = 0.01  # relative difference of x and y up to which pixels count as square


def stated_mpp(properties: tuple[str | None, str | None]) -> tuple[float, float] | None:
    """µm per level-0 pixel across and down as the file states it, NaN where it states no number; None: not at all."""
    across, down = properties
    return None if across is None or down is None else (parse_mpp(across), parse_mpp(down))


def parse_mpp(text: str) -> float:
    """µm per pixel from a property of the file; NaN, which no range holds, where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def required_mpp(name: str, stated: tuple[float, float] | None) -> float:
    """The file's resolution, which must do because the sheet has none.

    Raises:
        SlideError: the file has none, an absurd one, or pixels that are not square.
    """
    if stated is None:
        raise SlideError(f"slide {name}: no resolution in the file; fill the mpp column of the cohort sheet")
    across, down = (checked_mpp(name, mpp) for mpp in stated)
    return (across + down) / 2


def of_printers(mpp: float) -> str:
    """A remark on resolutions meant for printers, which programs write where they know no other."""
    dpi = 25_400 / mpp if mpp > 0 else math.nan
    match = [known for known in PRINTERS_DPI if abs(dpi - known) < 0.5]
    return f" (it is {match[0]} dots per inch, for printers)" if match else ""


def refuse_oblong_pixels(name: str, stated: tuple[float, float] | None) -> None:
    """Refuse a slide whose file credibly states that its pixels are not square: one resolution cannot describe it.

    Raises:
        SlideError: with both values.
    """
    if stated is None or not all(LEAST_MPP <= mpp <= GREATEST_MPP for mpp in stated):
        return  # this says nothing about the slide
    across, down = stated
    if abs(across - down) > MPP_ANISOTROPY * min(across, down):
        raise SlideError(
            f"slide {name}: {across:g} µm/px across but {down:g} µm/px down; pixels must be square within 1 %:"
            " resample the slide, or correct the resolution in the file"
        )


def checked_mpp(name: str, mpp: float) -> float:
    """The resolution. One that no scanner could have is refused."""
    if not LEAST_MPP <= mpp <= GREATEST_MPP:
        raise SlideError(
            f"slide {name}: {mpp:g} µm/px, expected {LEAST_MPP:g} to {GREATEST_MPP:g}{of_printers(mpp)};"
            " write the true resolution in the mpp column of the cohort sheet"
        )
    return mpp

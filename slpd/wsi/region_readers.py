"""Which reader a slide's regions are read by: the first that may read them, on a GPU if there is one.

Like `nvjpeg_reader` not imported by `slpd.wsi`, since it imports torch.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.settings.slides import ON_GPU
from slpd.wsi.levels import why
from slpd.wsi.nvjpeg_reader import NvjpegReader
from slpd.wsi.slide import Slide

log = logging.getLogger(__name__)

Choice = Literal["auto", "nvjpeg", "cucim_gpu", "cucim", "openslide"]


@dataclass(frozen=True)
class Request:
    """What is asked of a slide."""

    name: str  # slide id
    path: Path
    mpp: float | None  # of the sheet, µm per level-0 pixel
    requested_mpp: float  # of its regions, µm per pixel
    region_px: int


@dataclass(frozen=True)
class Opened:
    """An open slide, and what reads its regions: the slide itself, or a reader on the GPU that falls back on it."""

    slide: Slide
    plan: ReadPlan
    regions: Slide | NvjpegReader


def decoding_device() -> torch.device | None:
    """The device that may decode regions, if there is one."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def open_for_regions(request: Request, choice: Choice, device: torch.device | None, stack: ExitStack) -> Opened:
    """Open a slide with the reader that is asked for, or the first that may read it.

    Args:
        request: The slide.
        choice: `reading.reader`.
        device: That may decode; None: there is none.
        stack: Closes the slide.

    Raises:
        SlideError: the slide cannot be opened, or not be read by the reader that is asked for.
        UserError: that one needs a GPU, and there is none.
    """
    if choice in ON_GPU and device is None:
        raise UserError(f"reading.reader {choice} needs a GPU, and there is none; set it to auto")
    slide = stack.enter_context(
        Slide(request.name, request.path, request.mpp, "auto" if choice == "nvjpeg" else choice)
    )
    plan = plan_read(slide.mpp, slide.downsamples, request.requested_mpp, request.region_px)
    opened = Opened(slide, plan, slide)
    if device is None or choice not in ("auto", "nvjpeg"):
        return opened
    try:
        reader = NvjpegReader(slide, plan, device)
        reader.probe()
        return Opened(slide, plan, reader)
    except Exception as error:  # whatever the GPU, its driver or a decoder raise: another reader can read the slide
        reason = why(error)
    if choice == "nvjpeg":
        raise SlideError(
            f"slide {request.name}: nvJPEG is not to read {request.path}: {reason}; set reading.reader to auto"
        )
    return with_cucim_gpu(request, stack) or noted(opened, f"; not nvjpeg: {reason}")


def with_cucim_gpu(request: Request, stack: ExitStack) -> Opened | None:
    """The slide opened by cuCIM on a GPU, if that may read it."""
    try:
        slide = stack.enter_context(Slide(request.name, request.path, request.mpp, "cucim_gpu"))
    except SlideError as error:
        log.info("%s", error)
        return None
    plan = plan_read(slide.mpp, slide.downsamples, request.requested_mpp, request.region_px)
    return Opened(slide, plan, slide)


def noted(opened: Opened, note: str) -> Opened:
    """The same, with a note on its reader."""
    opened.slide.reader_reason += note
    return opened

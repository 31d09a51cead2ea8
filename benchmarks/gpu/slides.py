"""Regions: how near each reader's pixels are to OpenSlide's, how fast they come, and how busy the encoder is."""

import argparse
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.timing import Rows, seconds_of, synchronise
from benchmarks.slides_encoding import COMMON, PAPER, tissue_like
from slpd.errors import SlideError, UserError
from slpd.models.patch_encoder import Encoding, PatchEncoder, build_model, split_patches
from slpd.models.sharpness import sharpness
from slpd.settings.slides import PatchEncoderSettings as Settings
from slpd.stages.encode_patches import locked_regions
from slpd.synthetic.slide_file import write_slide
from slpd.wsi import Slide, UnreadableRegion
from slpd.wsi.region_readers import Choice, Opened, Request, open_for_regions

READERS: tuple[Choice, ...] = ("nvjpeg", "cucim_gpu", "cucim", "openslide")
MPP = 0.5
REGIONS = 24  # that a reader's speed is measured on


def slide_of(args: argparse.Namespace) -> tuple[Path, int]:
    """A drawn slide of 2 × 2 regions, and their side, px."""
    side = 512 if args.tiny else 4096
    path = args.out / "drawn.tiff"
    if not path.exists():
        write_slide(path, tissue_like(2 * side), MPP, 80)
    return path, side


def opened(args: argparse.Namespace, choice: Choice, stack: ExitStack, slide_mpp: float) -> Opened:
    """The drawn slide as one of `slide_mpp`, whose regions are halved if this is 0.25."""
    path, side = slide_of(args)
    request = Request("drawn", path, slide_mpp, MPP, side)
    return open_for_regions(request, choice, torch.device(args.device), stack)


def corners(side: int, n: int) -> list[tuple[int, int]]:
    """Of n regions, over and over."""
    return [(x, y) for x in (0, side) for y in (0, side)] * (n // 4)


def readers(args: argparse.Namespace) -> Rows:
    """Pixels and speed of each reader, without an encoder."""
    path, side = slide_of(args)
    with Slide("drawn", path, MPP, "openslide") as slide:
        plan = None
        for choice in READERS:
            for slide_mpp in (0.5, 0.25):
                name, before = f"{choice}, slide of {slide_mpp} µm/px", beyond_torch(args.device)
                try:
                    with ExitStack() as stack:
                        reader = opened(args, choice, stack, slide_mpp)
                        plan = reader.plan
                        places = corners(side, 4 if args.tiny else REGIONS) if slide_mpp == MPP else [(0, 0)] * 4
                        started = time.perf_counter()
                        regions, others = [], 0
                        for region in reader.regions.read_regions(places, plan):
                            regions.append(on_host(region))
                            others += reader.regions.read_by != choice
                        taken = (time.perf_counter() - started) / len(places)
                        yield f"{name}: speed", f"{1000 * taken:.0f} ms a region, {1 / taken:.1f} regions/s"
                        yield f"{name}: regions read by another reader", str(others)
                        more = (beyond_torch(args.device) - before) / 1e9
                        yield f"{name}: memory of the GPU besides torch's", f"{more:.2f} GB more than before"
                    if slide_mpp == MPP:
                        off = np.abs(regions[0].astype(np.int16) - slide.read_region(*places[0], plan))
                        share, most = 100 * (off > 0).mean(), off.max()
                        yield (
                            f"{name}: from OpenSlide",
                            f"{share:.2f} % differ, mean {off.mean():.4f}, most {most} levels",
                        )
                except (SlideError, UserError) as error:
                    yield name, str(error)[:300].replace("|", "/")


def beyond_torch(device: str) -> int:
    """Bytes of the GPU that all but torch takes: decoders, contexts, other processes."""
    if device == "cpu":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved()


def on_host(region: object) -> np.ndarray:
    """A region's pixels as an array of its own."""
    assert not isinstance(region, UnreadableRegion)
    return region.cpu().numpy() if isinstance(region, torch.Tensor) else np.array(region)


def encoding(args: argparse.Namespace) -> Rows:
    """The encoder alone, also with timm's own blocks, then with each reader as the stage runs them."""
    device = torch.device(args.device)
    _, side = slide_of(args)
    small = {"arguments": {"img_size": 256, "depth": 1}, "patch_px": 256} if args.tiny else PAPER
    encoder = PatchEncoder(Settings(**COMMON | small), None, 256)
    region = torch.from_numpy(tissue_like(side)).to(device)
    alone = seconds_of(lambda: encoder.start(region, MPP), device, 0.1 if args.tiny else 3)
    blocks = encoder.model.get_submodule("blocks")
    yield (
        f"encoder alone, {type(blocks).__name__}, region of {side} px on the device",
        f"**{1000 * alone:.1f} ms**, {1 / alone:.1f} regions/s",
    )
    yield "sharpness", f"{1000 * seconds_of(lambda: sharpness(region, MPP), device, 0.1):.2f} ms"
    yield "tokens in half precision are off by", f"{token_error(encoder, region):.1e} of their norm"
    for choice in READERS:
        try:
            with ExitStack() as stack:
                reader = opened(args, choice, stack, MPP)
                places = corners(side, 4 if args.tiny else REGIONS)
                taken = encode_all(encoder, reader, places) / len(places)
            yield f"{choice} and encoder", f"**{1 / taken:.1f} regions/s**, encoder busy {100 * alone / taken:.0f} %"
        except (SlideError, UserError) as error:
            yield f"{choice} and encoder", str(error)[:300].replace("|", "/")
    if device.type == "cuda":
        yield "peak memory of torch", f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB"
    encoder.model.blocks = nn.Sequential(*blocks.children())
    timms = seconds_of(lambda: encoder.start(region, MPP), device, 0.1 if args.tiny else 3)
    yield "encoder alone, timm's own blocks", f"{1000 * timms:.1f} ms, {1 / timms:.1f} regions/s"
    yield "tokens of timm's own blocks are off by", f"{token_error(encoder, region):.1e} of their norm"
    if device.type == "cuda":
        yield "timm's own blocks compiled", compiled(encoder, region)


def encode_all(encoder: PatchEncoder, opened_slide: Opened, places: Iterable[tuple[int, int]]) -> float:
    """Seconds from the first region asked for to the last token, as `encode_patches` runs."""
    under_way: list[Encoding] = []
    started = time.perf_counter()
    slide, regions, plan = opened_slide.slide, opened_slide.regions, opened_slide.plan
    with locked_regions(slide, regions, plan, encoder):
        for region in regions.read_regions(places, plan):
            assert not isinstance(region, UnreadableRegion)
            under_way.append(encoder.start(region, MPP))
            if len(under_way) > 1:
                under_way.pop(0).result()
            under_way[-1].wait_for_pixels()
        under_way.pop().result()
    return time.perf_counter() - started


def token_error(encoder: PatchEncoder, region: torch.Tensor) -> float:
    """How far tokens are from those in float32 on the CPU, of a few patches."""
    patches = split_patches(region, encoder.settings.patch_px)[:4]
    with torch.inference_mode():
        scaled = (patches.cpu().float() - encoder.mean.cpu()) / encoder.std.cpu()
        expected, tokens = build_model(encoder.settings)(scaled), encoder.forward(patches).float().cpu()
    return float((tokens - expected).norm() / expected.norm())


def compiled(encoder: PatchEncoder, region: torch.Tensor) -> str:
    """What compiling the encoder would cost and gain."""
    patches = split_patches(region, encoder.settings.patch_px)[: encoder.batch_patches]
    with torch.inference_mode():
        plain = seconds_of(lambda: encoder.forward(patches), encoder.device, 1)
        encoder.model, started = torch.compile(encoder.model, dynamic=False), time.perf_counter()  # type: ignore[assignment]
        encoder.forward(patches)
        synchronise(encoder.device)
        cost = time.perf_counter() - started
        fast = seconds_of(lambda: encoder.forward(patches), encoder.device, 1)
    return f"{1000 * plain:.1f} → {1000 * fast:.1f} ms for {len(patches)} patches, compiled in {cost:.0f} s"

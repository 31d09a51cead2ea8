"""Regions decoded from compressed tiles are those that the slide's own reader gives, or come from that.

On the CPU the same code has libjpeg decode, so that pixels must be equal.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from nvidia import nvimgcodec

from slpd.errors import SlideError, UserError
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.synthetic.slide_file import write_slide
from slpd.wsi import Slide, UnreadableRegion, cucim_gpu_reader, jpeg_decoder, nvjpeg_reader, region_readers
from slpd.wsi.area_means import area_means
from slpd.wsi.cucim_gpu_reader import library_path, refuse_decoding_on_the_cpu
from slpd.wsi.nvjpeg_reader import NvjpegReader
from slpd.wsi.region_readers import Request, open_for_regions
from slpd.wsi.tiff_levels import RGB, UnsuitableError
from slpd.wsi.tolerance import are_near

pytestmark = [pytest.mark.torch, pytest.mark.slides]

MakeSlide = Callable[..., Path]
Pixels = NDArray[np.uint8]  # (h, w, 3)
DATA = Path(__file__).parents[2] / "shared" / "data" / "slides"
CPU = torch.device("cpu")
CORNERS = [(0, 0), (37, 190), (300, 301), (-50, -70), (5000, 0)]  # on the slide, over its edges, beside it


def tissue(side: int) -> Pixels:
    """Coloured grain."""
    coarse = np.random.default_rng(0).integers(60, 250, (side // 8, side // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def plan_of(slide: Slide, requested_mpp: float, region_px: int) -> ReadPlan:
    return plan_read(slide.mpp, slide.downsamples, requested_mpp, region_px)


def read(path: Path, mpp: float, region_px: int, corners: list[tuple[int, int]] = CORNERS) -> int:
    """The largest difference, in grey levels, between the regions of both readers of a slide of 0.5 µm/px."""
    with Slide("s", path, 0.5) as slide:
        plan = plan_of(slide, mpp, region_px)
        reader = NvjpegReader(slide, plan, CPU)
        reader.probe()
        expected = [pixels.copy() for pixels in slide.read_regions(corners, plan)]  # type: ignore[union-attr]
        regions = list(reader.read_regions(corners, plan))
        assert all(isinstance(region, torch.Tensor) for region in regions)
        return max(
            int(np.abs(np.asarray(region).astype(int) - other).max())
            for region, other in zip(regions, expected, strict=True)
        )


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("batch_bytes", [2**26, 1])
def test_pixels_are_those_of_the_slides_reader(
    tmp_path: Path,
    make_slide: MakeSlide,
    subsampling: tuple[int, int],
    batch_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one batch, and row by row."""
    monkeypatch.setattr(nvjpeg_reader, "BATCH_BYTES", batch_bytes)
    path = make_slide(tmp_path / "s.tiff", tissue(480), subsampling=subsampling, levels=(1, 2))
    assert read(path, 0.5, 200) == 0
    assert read(path, 1.0, 100) == 0  # from level 1


@pytest.mark.parametrize("mpp", [0.77, 1.0, 0.35])
def test_resampled_pixels_are_within_rounding(tmp_path: Path, mpp: float) -> None:
    write_slide(tmp_path / "s.tiff", tissue(512), 0.5, 80)
    assert read(tmp_path / "s.tiff", mpp, 160) <= 1


def test_colours_are_those_that_the_tiff_states(tmp_path: Path) -> None:
    """RGB within JPEG, as Aperio writes it: a decoder that guesses takes three channels for YCbCr."""
    path = tmp_path / "s.tiff"
    with tifffile.TiffWriter(path) as file:
        file.write(
            tissue(256),
            photometric="rgb",
            tile=(64, 64),
            compression="jpeg",
            compressionargs={"level": 95, "outcolorspace": "rgb"},
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.photometric == RGB
    assert read(path, 0.5, 200) == 0


@pytest.mark.parametrize("name", ["her2st_B4.tiff", "CMU-1-Small-Region.svs"])
def test_pixels_of_real_slides_are_openslides(name: str) -> None:
    """Regions of up to 289 tiles; the second slide has RGB within JPEG, and its tables in the TIFF."""
    if not (DATA / name).exists():
        pytest.skip("no real slides here")
    with Slide("s", DATA / name, 0.5, "openslide") as slide:
        plan = plan_of(slide, 0.5, min(4096, slide.width_lv0 // 256 * 256))
        reader = NvjpegReader(slide, plan, CPU)
        region = next(iter(reader.read_regions([(101, 57)], plan)))
        assert np.array_equal(np.asarray(region), slide.read_region(101, 57, plan))
        assert isinstance(region, torch.Tensor)


def zeroed(tile: bytearray) -> None:
    tile[:] = bytes(len(tile))


def half_zeroed(tile: bytearray) -> None:
    half = len(tile) // 2
    tile[half:-2] = bytes(len(tile) - half - 2)


def end_lost(tile: bytearray) -> None:
    tile[-2:] = bytes(2)


def noise(tile: bytearray) -> None:
    """In the second half, as a bad copy leaves it: the header and the end are whole."""
    half = len(tile) // 2
    tile[half:-2] = np.random.default_rng(0).bytes(len(tile) - half - 2)


def other_size(tile: bytearray) -> None:
    where = tile.index(b"\xff\xc0")
    tile[where + 5 : where + 9] = (512).to_bytes(2) * 2


def change_first_tile(path: Path, change: Callable[[bytearray], None]) -> None:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        start, size = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    tile = content[start : start + size]
    change(tile)
    content[start : start + size] = tile
    path.write_bytes(content)


@pytest.mark.parametrize("change", [zeroed, half_zeroed, end_lost, noise, other_size])
def test_a_region_with_a_damaged_tile_is_the_slides_readers(
    tmp_path: Path, make_slide: MakeSlide, change: Callable[[bytearray], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Which refuses it, or not; the other regions are decoded as before."""
    path = make_slide(tmp_path / "s.tiff", tissue(256), tile_px=64)
    change_first_tile(path, change)
    with Slide("s", path, 0.5) as slide, caplog.at_level(logging.WARNING):
        plan = plan_of(slide, 0.5, 64)
        reader = NvjpegReader(slide, plan, CPU)
        regions = reader.read_regions([(0, 0), (128, 128)], plan)
        (damaged, of_damaged), (whole, of_whole) = ((region, reader.read_by) for region in regions)
        expected = next(iter(slide.read_regions([(0, 0)], plan)))
        assert damaged == expected if isinstance(expected, UnreadableRegion) else np.array_equal(damaged, expected)
        assert np.array_equal(np.asarray(whole), slide.read_region(128, 128, plan))
    assert (of_damaged, of_whole) == (slide.reader, "nvjpeg")
    assert "the region at x 0, y 0 is read by" in caplog.text


def test_a_decoder_takes_the_jobs_processors_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine with more of them; made for the CPU here, where there is no GPU."""
    made, asked, mine = nvimgcodec.Decoder, {}, os.sched_getaffinity(0)

    def on_cpu(device_id: int, backends: list[object], **options: object) -> object:
        asked.update(options)
        return made(device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY, **options)

    monkeypatch.setattr(nvimgcodec, "Decoder", on_cpu)
    os.sched_setaffinity(0, {min(mine)})
    try:
        jpeg_decoder.nvjpeg.__wrapped__(0)
    finally:
        os.sched_setaffinity(0, mine)
    assert asked["max_num_cpu_threads"] == 1


CUCIM_GPU = """
import os, sys
from pathlib import Path
from slpd.wsi import cucim_gpu_reader, worker
from slpd.wsi.cucim_reader import CucimReader
from slpd.wsi.messages import OpenSlideFile, ReadPart
cucim_gpu_reader.load_decoders = cucim_gpu_reader.refuse_decoding_on_the_cpu = lambda: None
cucim_gpu_reader.CucimGpuReader._pixels = CucimReader._pixels
decode = CucimReader.decode
CucimReader.decode = lambda *part: (decode(*part)[0], "")
memory = os.memfd_create("slide")
os.ftruncate(memory, 3 * 64 * 64)
opened, parts = worker.open_slide(OpenSlideFile(Path(sys.argv[1]), "cucim_gpu"), memory)
print(getattr(opened, "reader", opened), file=sys.stderr)
for x, y in ((0, 0), (128, 128)):
    answer = parts.answer(ReadPart(x, y, 0, (64, 64), (64, 64), 0))
    print(getattr(answer, "reader", type(answer).__name__), file=sys.stderr, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("change", [zeroed, half_zeroed, end_lost, noise, other_size])
def test_cucim_on_a_gpu_is_not_shown_a_damaged_tile(
    tmp_path: Path, make_slide: MakeSlide, change: Callable[[bytearray], None]
) -> None:
    """Its decoder, which libjpeg stands in for, complains of none. OpenSlide reads the region or refuses it."""
    path = make_slide(tmp_path / "s.tiff", tissue(256), tile_px=64)
    change_first_tile(path, change)
    run = subprocess.run([sys.executable, "-c", CUCIM_GPU, path], capture_output=True, text=True, check=True)
    opened, damaged, whole = (line for line in run.stderr.splitlines() if " " not in line)  # no lines of the log
    assert (opened, whole) == ("cucim_gpu", "cucim_gpu")
    assert damaged in ("openslide", "UnreadableRegion")


def test_an_error_of_the_device_sends_the_region_to_the_slides_reader(
    tmp_path: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue(256))
    with Slide("s", path, 0.5) as slide:
        plan = plan_of(slide, 0.5, 64)
        reader = NvjpegReader(slide, plan, CPU)
        expected = slide.read_region(64, 64, plan)

        def fail(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(nvjpeg_reader, "decode_jpegs", fail)
        regions = list(reader.read_regions([(64, 64)] * 5, plan))
    assert all(np.array_equal(region, expected) for region in regions)  # type: ignore[arg-type]
    assert reader.read_by == slide.reader


def shifted(levels: int) -> Callable[..., list[torch.Tensor]]:
    """A decoder whose pixels are off by some grey levels."""
    decode = nvjpeg_reader.decode_jpegs
    return lambda images, device: [(tile.int() + levels).clamp(0, 255).byte() for tile in decode(images, device)]


def test_a_decoder_that_differs_is_refused(
    tmp_path: Path, make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue(256))
    monkeypatch.setattr(nvjpeg_reader, "decode_jpegs", shifted(1))
    with ExitStack() as stack:
        opened = open_for_regions(Request("s", path, 0.5, 0.5, 64), "auto", CPU, stack)
        assert opened.regions is opened.slide
        assert opened.slide.reader == "cucim"
        assert "not nvjpeg: nvJPEG and cucim differ at level 0" in opened.slide.reader_reason
        with pytest.raises(SlideError, match=r"nvJPEG is not to read .* differ .* set reading.reader to auto"):
            open_for_regions(Request("s", path, 0.5, 0.5, 64), "nvjpeg", CPU, stack)


@pytest.mark.parametrize(("compression", "reader"), [("jpeg", "cucim"), ("deflate", "openslide")])
def test_the_reason_names_what_was_compared(
    tmp_path: Path, make_slide: MakeSlide, compression: str, reader: str
) -> None:
    """Which is the slide's own reader: cuCIM, unless a level that is not read here keeps it away."""
    path = make_slide(tmp_path / "s.tiff", tissue(256), levels=(1, 2), compression=("jpeg", compression))
    with ExitStack() as stack:
        regions = open_for_regions(Request("s", path, 0.5, 0.5, 64), "nvjpeg", CPU, stack).regions
        stated = f"below 0.5 grey levels from {reader} in the mean, at most 4, tiles compared: "
        assert regions.reader_reason.startswith(stated)


def test_tolerance() -> None:
    """As stated: below half a level in the mean, at most four."""
    picture = tissue(64)
    off = np.zeros(picture.shape, np.uint8)
    off[::8, ::8] = 4  # 1/16 in the mean
    assert are_near(picture + off, picture)
    assert not are_near(picture + off // 4 * 5, picture)
    off[:] = 0
    off[::2] = 1  # half a level in the mean
    assert not are_near(picture + off, picture)


@pytest.mark.parametrize(
    ("options", "region_px", "reason"),
    [
        ({"compression": "deflate"}, 64, "not JPEG"),
        ({}, 16384, "more than the GPU is to hold"),
        ({"tile_px": 10240}, 64, "one row of its tiles takes 315 MB"),
    ],
)
def test_other_slides_are_refused(
    tmp_path: Path, make_slide: MakeSlide, options: dict[str, object], region_px: int, reason: str
) -> None:
    path = make_slide(tmp_path / "s.tiff", tissue(256), **options)
    with Slide("s", path, 0.5) as slide, pytest.raises(UnsuitableError, match=reason):
        NvjpegReader(slide, plan_of(slide, 0.5, region_px), CPU)


@pytest.mark.parametrize("choice", ["nvjpeg", "cucim_gpu"])
def test_readers_on_a_gpu_are_refused_without_one(tmp_path: Path, choice: region_readers.Choice) -> None:
    with ExitStack() as stack, pytest.raises(UserError, match=f"reading.reader {choice} needs a GPU"):
        open_for_regions(Request("s", tmp_path, 0.5, 0.5, 64), choice, None, stack)


def test_cucim_on_a_gpu_is_refused_where_it_would_decode_on_the_cpu(tmp_path: Path, make_slide: MakeSlide) -> None:
    """As it does, without saying so, where nvJPEG or the GPU is missing."""
    path = make_slide(tmp_path / "s.tiff", tissue(256))
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SlideError, match=r"cuCIM on a GPU is not to read .*(nvidia-nvjpeg is not|there is no GPU)"):
        Slide("s", path, 0.5, "cucim_gpu")
    with pytest.raises(UnsuitableError, match="nvidia-nothing is not installed"):
        library_path("nvidia-nothing", "libnothing.so")
    assert library_path("nvidia-nvimgcodec-cu13", cucim_gpu_reader.LIBRARIES["nvidia-nvimgcodec-cu13"]).exists()
    with pytest.raises(UnsuitableError, match="decodes without cuslide2"):
        refuse_decoding_on_the_cpu()


def test_area_means_are_exact() -> None:
    """Against the product with the matrix of overlaps, in float64."""
    picture = tissue(64)[:61, :61]
    for side in (7, 30, 61, 100):
        edges = np.linspace(0, 61, side + 1)
        low, high = edges[:-1, None], edges[1:, None]
        overlap = np.clip(np.minimum(high, np.arange(1, 62)) - np.maximum(low, np.arange(61)), 0, None)
        weights = overlap / overlap.sum(1, keepdims=True)
        expected = np.einsum("ik,jl,klc->ijc", weights, weights, picture, optimize=True)
        assert np.abs(area_means(torch.from_numpy(picture), side).numpy() - expected).max() <= 0.5 + 1e-6


def test_area_means_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.from_numpy(tissue(64))
    whole = area_means(picture, 50)
    monkeypatch.setattr("slpd.wsi.area_means.BLOCK_VALUES", 1)
    assert (area_means(picture, 50).int() - whole.int()).abs().max() <= 1  # a mean of just n + 1/2 goes either way

"""What slides cost: reading regions against a plain OpenSlide loop, tissue and regions of a large slide, leaks.

    python -m benchmarks.slides [--repeats 3] [--regions 12] [--slides 200] [--large 100000 80000]

Slides are made on the spot: stained texture whose JPEG tiles are written once and pointed to many times, so that even a
slide of 100,000 x 80,000 px takes seconds. Times are wall-clock, medians over repeats that alternate with the plain
loop; figures are comparable within a run only. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import imagecodecs
import numpy as np
import openslide
import psutil
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.repeated_tiles import write_repeated_tiles
from slpd.geometry.read_plan import ReadPlan, plan_read
from slpd.wsi import Slide, UnreadableRegion

ROOT = Path(__file__).parents[1]
REGION_PX = 4096
TEXTURE_PX = 2048
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)  # optical density of red, green, blue light

Corner = tuple[int, int]
Pixels = NDArray[np.uint8]  # (h, w, 3)


def main() -> None:
    """Make slides, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of each reading loop")
    parser.add_argument("--regions", type=int, default=12, help="regions of 4096 px per loop")
    parser.add_argument("--slides", type=int, default=200, help="slides opened one after the other")
    parser.add_argument(
        "--large", type=int, nargs=2, default=(100_000, 80_000), help="width, height; multiples of 16, px"
    )
    args = parser.parse_args()
    figures: dict[str, float] = {"cpus": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as folder:
        texture = stained_texture(np.random.default_rng(0))
        slide = Path(folder) / "tissue.tiff"
        write_repeated_tiles(slide, texture, (20 * 1024, 16 * 1024), mpp=0.5, downsamples=(1, 4), tissue_radius=9)
        figures |= time_reading("jpeg", slide, 0.5, args)
        fine = Path(folder) / "fine.tiff"
        write_repeated_tiles(fine, texture, (20 * 1024, 16 * 1024), mpp=0.2527, downsamples=(1, 4), tissue_radius=9)
        figures |= time_reading("jpeg_resampled", fine, 0.5, args)
        jpeg_2000 = write_jpeg_2000(Path(folder) / "jpeg_2000.svs", texture)
        figures |= time_reading("jpeg_2000", jpeg_2000, 0.5, args)
        figures |= time_large(Path(folder), texture, args.large)
        figures |= open_many(slide, args.slides)
    print(json.dumps(figures))


def stained_texture(rng: np.random.Generator) -> Pixels:
    """A square of tissue as JPEG finds it: fibres, nuclei and grain; it repeats seamlessly."""

    def noise(scale: float) -> NDArray[np.float64]:
        field = ndimage.gaussian_filter(rng.standard_normal((TEXTURE_PX, TEXTURE_PX)), scale, mode="wrap")
        scaled: NDArray[np.float64] = field / field.std()
        return scaled

    eosin = 0.25 + 0.08 * noise(12) + 0.05 * noise(2)
    nuclei = 0.6 * (noise(5) > 1.2) * (1 + 0.3 * noise(1.5))
    density = np.maximum(eosin, 0)[..., None] * EOSIN + nuclei[..., None] * HAEMATOXYLIN
    grain = 3 * rng.standard_normal(density.shape)
    return np.clip(245 * 10**-density + grain, 0, 255).astype(np.uint8)


def write_jpeg_2000(path: Path, texture: Pixels) -> Path:
    """A slide of one level in Aperio's JPEG 2000."""
    import tifffile  # noqa: PLC0415 - only here

    tile = bytes(imagecodecs.jpeg2k_encode(texture[:256, :256], level=40, codecformat="j2k"))
    side = 4 * 1024
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter([tile] * (side // 256) ** 2),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(256, 256),
            compression=33005,
            photometric="rgb",
            description="Aperio Image Library v1\r\n|AppMag = 20|MPP = 0.5",
            metadata=None,
        )
    return path


def time_reading(name: str, path: Path, mpp: float, args: argparse.Namespace) -> dict[str, float]:
    """Seconds per region of the plain loop and of read_regions, and their ratio, of processor time too."""
    start = time.perf_counter()
    with Slide(name, path, None) as slide:
        opening = time.perf_counter() - start
        plan = plan_read(slide.mpp, slide.downsamples, mpp, REGION_PX)
        corners = grid(slide, plan)[: args.regions]
        me, reader = psutil.Process(), psutil.Process().children(recursive=True)[-1]
        plain, ours, plain_cpu, our_cpu = [], [], [], []
        for _ in range(args.repeats):
            clocks = [processor_time(me), processor_time(reader)]
            plain.append(seconds(lambda: plain_loop(path, corners, plan)) / len(corners))
            plain_cpu.append((processor_time(me) - clocks[0]) / len(corners))
            ours.append(seconds(lambda: our_loop(slide, corners, plan)) / len(corners))
            our_cpu.append((processor_time(reader) - clocks[1]) / len(corners))
        ratio, cpu_ratio = median(plain) / median(ours), median(plain_cpu) / median(our_cpu)
        print(
            f"{name}: plain OpenSlide {median(plain):.3f} s, ours {median(ours):.3f} s per region from"
            f" {plan.level_px} px: {ratio:.1f} x, of processor time {cpu_ratio:.1f} x."
            f" {slide.reader} ({slide.reader_reason}), opened in {opening:.2f} s",
            flush=True,
        )
    return {
        f"{name}_plain_s": round(median(plain), 4),
        f"{name}_s": round(median(ours), 4),
        f"{name}_speedup": round(ratio, 2),
        f"{name}_cpu_ratio": round(cpu_ratio, 2),
        f"{name}_open_s": round(opening, 2),
    }


def processor_time(process: psutil.Process) -> float:
    """Seconds of all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


def grid(slide: Slide, plan: ReadPlan) -> list[Corner]:
    """Corners of whole regions."""
    columns, rows = slide.width_lv0 // plan.region_lv0, slide.height_lv0 // plan.region_lv0
    return [(x * plan.region_lv0, y * plan.region_lv0) for y in range(rows) for x in range(columns)]


def plain_loop(path: Path, corners: list[Corner], plan: ReadPlan) -> None:
    """What most programs do."""
    with openslide.OpenSlide(path) as slide:
        for corner in corners:
            region = slide.read_region(corner, plan.level, (plan.level_px, plan.level_px)).convert("RGB")
            if plan.level_px != plan.region_px:
                region = region.resize((plan.region_px, plan.region_px), Image.Resampling.BOX)
            np.asarray(region)


def our_loop(slide: Slide, corners: list[Corner], plan: ReadPlan) -> None:
    """The same through Slide."""
    for region in slide.read_regions(corners, plan):
        assert not isinstance(region, UnreadableRegion)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_large(folder: Path, texture: Pixels, size: tuple[int, int]) -> dict[str, float]:
    """Seconds and memory of segment_tissue, tile_regions and picture_regions for a large slide."""
    path = folder / "large.tiff"
    radius = min(size) // (3 * REGION_PX)
    made = seconds(
        lambda: write_repeated_tiles(path, texture, size, 0.25, downsamples=(1, 4, 16), tissue_radius=radius)
    )
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    given = {"large": {"path": str(path), "n_bytes": path.stat().st_size, "mpp": None, "mask": ""}}
    tissue, regions, pictures = (folder / name for name in ("tissue", "regions", "pictures"))
    (tissue_s, tissue_mb), (regions_s, regions_mb), (pictures_s, pictures_mb) = (
        run_stage(
            "segment_tissue", tissue, ["--slides", json.dumps(given), "--settings", json.dumps(config["tissue"])]
        ),
        run_stage(
            "tile_regions",
            regions,
            [*("--records", f"{tissue}.json", "--tissue", str(tissue)), "--settings", json.dumps(config["regions"])],
        ),
        run_stage(
            "picture_regions",
            pictures,
            [
                *("--records", f"{regions}.json", "--regions", str(regions)),
                *("--picture-px", str(config["report"]["picture_px"])),
            ],
        ),
    )
    record = json.loads((regions / "large.json").read_text())["record"]
    sheet_mb = (pictures / "large.jpg").stat().st_size / 1e6
    assert record["status"] == "ok", record["reason"]
    print(
        f"large: {size[0]} x {size[1]} px, made in {made:.1f} s, {path.stat().st_size / 1e6:.0f} MB:"
        f" segment_tissue {tissue_s:.1f} s, {tissue_mb:.0f} MB; tile_regions {regions_s:.1f} s, {regions_mb:.0f} MB;"
        f" picture_regions {pictures_s:.1f} s, {pictures_mb:.0f} MB, sheet of {sheet_mb:.1f} MB;"
        f" {record.get('n_regions')} regions",
        flush=True,
    )
    return {
        "large_segment_tissue_s": round(tissue_s, 2),
        "large_tile_regions_s": round(regions_s, 2),
        "large_picture_regions_s": round(pictures_s, 2),
        "large_peak_mb": round(max(tissue_mb, regions_mb, pictures_mb)),
    }


def run_stage(stage: str, folder: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak memory (MB, of the stage and its reading process together) of a stage's command for one slide.

    It runs twice: looking at memory takes time.
    """
    where = ["--version", "1", "--threads", "1", "--folder", str(folder), "--out", f"{folder}.json"]
    command, peak = [sys.executable, "-m", "slpd", stage, *arguments, *where], 0.0
    elapsed = seconds(lambda: subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False))
    (folder / "large.json").unlink(missing_ok=True)  # what is finished is not done again
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.05):
                with suppress(psutil.NoSuchProcess):
                    peak = max(peak, memory_mb(psutil.Process(process.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, errors = process.communicate()
        ended.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{stage} failed:\n{errors}")
    return elapsed, peak


def memory_mb(process: psutil.Process) -> float:
    """Memory of a process and those it started, shared pages counted once."""
    total = 0
    with suppress(psutil.Error):  # one ended meanwhile
        for part in (process, *process.children(recursive=True)):
            total += part.memory_full_info().pss
    return total / 1e6


def open_many(path: Path, n_slides: int) -> dict[str, float]:
    """What opening and reading slides one after another leaks."""
    me = psutil.Process()
    with Slide("first", path, None):
        processes = len(me.children(recursive=True)) - 1  # without the reader: what forks readers stays
    shared = set(Path("/dev/shm").glob("psm_*"))
    warm = min(10, n_slides // 2)
    before, files, start = 0.0, 0, time.perf_counter()
    for number in range(n_slides):
        if number == warm:
            before, files = me.memory_info().rss / 1e6, me.num_fds()
        with Slide("leak", path, None) as slide:
            plan = plan_read(slide.mpp, slide.downsamples, 0.5, 512)
            our_loop(slide, [(4096, 4096), (8192, 8192)], plan)
            slide.thumbnail(32.0)
    per_slide = (time.perf_counter() - start) / n_slides
    grown, left = me.memory_info().rss / 1e6 - before, len(me.children(recursive=True)) - processes
    segments = len(set(Path("/dev/shm").glob("psm_*")) - shared)
    print(
        f"{n_slides} slides: {per_slide:.2f} s each; memory {grown:+.1f} MB after the first {warm},"
        f" {me.num_fds() - files:+d} open files, {left} processes, {segments} shared memory segments left",
        flush=True,
    )
    return {
        "slides_s": round(per_slide, 3),
        "slides_grown_mb": round(grown, 1),
        "slides_left": me.num_fds() - files + left + segments,
    }


if __name__ == "__main__":
    main()

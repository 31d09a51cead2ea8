"""What encode_patches costs besides the encoder: time, peak memory, and what half precision changes.

The encoder alone gets the same regions from memory, in the same process and in turns with the stage. --large adds
regions of 4096 px through ViT-S/16. The last line is JSON. Usage: `python -m benchmarks.slides_encoding [--large]`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the stages run

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from slpd.artifacts.slides.finished_slide import FinishedSlide, write_batch
from slpd.artifacts.slides.region_table import Region, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.geometry.read_plan import plan_read
from slpd.models.patch_encoder import PatchEncoder, split_patches
from slpd.models.sharpness import sharpness
from slpd.settings.jobs import Jobs
from slpd.settings.slides import PatchEncoderSettings as Settings
from slpd.settings.slides import Reading
from slpd.stages.encode_patches import Batch, TiledSlide, encode_slides
from slpd.synthetic.slide_file import write_slide
from slpd.wsi import Slide

COMMON: dict[str, Any] = {
    "model": "vit_small_patch16_224",
    "pooling": "model",
    "checkpoint": None,
    "sha256": None,
    "seed": 0,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
DEMO: dict[str, Any] = {"arguments": {"img_size": 32, "patch_size": 16, "depth": 1}, "patch_px": 32}
PAPER: dict[str, Any] = {"arguments": {"img_size": 256}, "patch_px": 256}
DEMO_BATCH, PAPER_BATCH = 1024, 64  # patches encoded at a time
READING = Reading(reader="auto")
MPP = 0.5

# Runs a command of slpd and prints the peak memory of the job and of its largest reading process, MB. (ru_maxrss
# would begin with what the process that starts it holds.)
MEASURED = """
import re, sys, threading, time
from pathlib import Path
from slpd.__main__ import main

def peak(process):
    try:
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024
    except (OSError, TypeError):
        return 0  # it has just ended

def children(process):
    return " ".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")).split()

def watch():
    while True:
        try:
            readers.extend(peak(reader) for nursery in children("self") for reader in children(nursery))
        except OSError:
            pass  # one has just ended
        time.sleep(0.02)

readers = [0]
threading.Thread(target=watch, daemon=True).start()
status = main()
print(peak("self"), max(readers))
sys.exit(status)
"""


def tissue_like(side: int) -> NDArray[np.uint8]:
    """(side, side, 3): stained grain at the scale of nuclei, with finer noise, so that JPEG has work to do."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(90, 230, (side // 16, side // 16, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    return coarse + rng.integers(0, 25, coarse.shape, dtype=np.uint8)


def make_slide(folder: Path, name: str, region_px: int, columns: int, rows: int, picture: Path) -> TiledSlide:
    """A record of tile_regions and its table, all regions of the grid, on a slide that is there."""
    regions = [Region(r, c, c * region_px, r * region_px, 1.0) for r in range(rows) for c in range(columns)]
    write_regions(folder / f"{name}.csv", regions)
    record = SlideRecord(
        slide=name,
        path=str(picture),
        slide_mpp=MPP,
        requested_mpp=MPP,
        region_px=region_px,
        region_lv0=region_px,
        n_regions=len(regions),
    )
    return TiledSlide(record, folder / f"{name}.csv", folder / f"{name}.h5")


def regions_of(picture: Path, region_px: int, columns: int, rows: int) -> list[NDArray[np.uint8]]:
    """The regions as the stage reads them."""
    with Slide("regions", picture, MPP) as slide:
        plan = plan_read(slide.mpp, slide.downsamples, MPP, region_px)
        corners = [(c * region_px, r * region_px) for r in range(rows) for c in range(columns)]
        return [np.array(region) for region in slide.read_regions(corners, plan)]


def clocks() -> NDArray[np.float64]:
    """Seconds of wall time, and of processor time of this process, of what forks readers, and of readers that ended."""
    processes = [psutil.Process(), *psutil.Process().children()]
    return np.array([time.perf_counter(), sum(sum(process.cpu_times()[:4]) for process in processes)])


def time_alone(encoder: PatchEncoder, regions: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Seconds (wall, processor) that the model takes for regions in memory, patches cut and scaled."""
    start = clocks()
    with torch.inference_mode():
        for region in regions:
            patches = split_patches(torch.from_numpy(region), encoder.settings.patch_px)
            for batch in torch.split(patches, encoder.batch_patches):
                encoder.forward(batch)
    return clocks() - start


def time_stage(encoder: PatchEncoder, slides: list[TiledSlide], folder: Path) -> NDArray[np.float64]:
    """Seconds (wall, processor) from records to finished token files."""
    jobs = Jobs(
        batch_patches=encoder.batch_patches,
        copy_to=None,
        shared_tokens=None,
        tokens="auto",
        regions_at_once=None,
        iterations_per_job=None,
        attention="auto",
        checkpoint_minutes=10,
    )
    batch = Batch(encoder.settings, READING, jobs, version=0)
    batch.__dict__["encoder"] = encoder  # built already
    with tempfile.TemporaryDirectory(dir=folder) as tokens:
        start = clocks()
        new = [replace(slide, tokens=Path(tokens, slide.tokens.name)) for slide in slides]
        finished = list(encode_slides(new, batch))
        seconds = clocks() - start
    assert all(record.status == "ok" for record in finished), [record.reason for record in finished]
    return seconds


def compare(
    encoder: PatchEncoder, slides: list[TiledSlide], regions: list[NDArray[np.uint8]], folder: Path, repeats: int
) -> dict[str, float]:
    """Encoder alone against the stage on the same regions, in turns; medians. Busy machines: trust processor time."""
    time_alone(encoder, regions[:1])
    rounds = [(time_alone(encoder, regions), time_stage(encoder, slides, folder)) for _ in range(repeats)]
    alone, stage = (np.median(seconds, axis=0) for seconds in zip(*rounds, strict=True))
    added = 100 * (np.median([after / before for before, after in rounds], axis=0) - 1)
    return {
        "regions": len(regions),
        "slides": len(slides),
        "alone_wall_s": round(float(alone[0]), 2),
        "stage_wall_s": round(float(stage[0]), 2),
        "added_wall_percent": round(float(added[0]), 1),
        "alone_cpu_s": round(float(alone[1]), 2),
        "stage_cpu_s": round(float(stage[1]), 2),
        "added_cpu_percent": round(float(added[1]), 1),
    }


def peak_memory(slide: TiledSlide, folder: Path) -> dict[str, float]:
    """Peak memory of the command for one slide, MB: of the job, and of the process that reads."""
    with tempfile.TemporaryDirectory(dir=folder) as tokens:
        write_batch(folder / "one.json", [FinishedSlide(fingerprint="", record=slide.record)])
        argv = ["encode_patches", "--records", str(folder / "one.json"), "--regions", str(slide.table.parent)]
        argv += ["--settings", json.dumps(COMMON | DEMO)]
        jobs = Jobs(
            batch_patches=DEMO_BATCH,
            copy_to=None,
            shared_tokens=None,
            tokens="auto",
            regions_at_once=None,
            iterations_per_job=None,
            attention="auto",
            checkpoint_minutes=10,
        )
        argv += ["--reading", READING.model_dump_json(), "--jobs", jobs.model_dump_json()]
        argv += ["--version", "0", "--tokens-dir", tokens, "--out", f"{tokens}/batch.json"]
        run = subprocess.run([sys.executable, "-c", MEASURED, *argv], check=True, stdout=subprocess.PIPE, text=True)
    job, reader = map(float, run.stdout.split())
    return {"job_mb": round(job), "reader_mb": round(reader)}


def half_precision(region: NDArray[np.uint8], n_patches: int = 32) -> dict[str, float]:
    """Tokens of ViT_256-16 (random weights) under bf16 autocast against float32."""
    encoder = PatchEncoder(Settings(**COMMON | PAPER), None, PAPER_BATCH)
    patches = split_patches(torch.from_numpy(region), 256)[:n_patches]
    scaled = (patches.float() - encoder.mean) / encoder.std
    with torch.inference_mode():
        exact = encoder.model(scaled)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder.model(scaled).float()
    error = (half - exact).norm(dim=1) / exact.norm(dim=1)
    spread = (exact - exact.mean(0)).norm(dim=1).mean()
    return {
        "largest_difference": round(float((half - exact).abs().max()), 4),
        "largest_value": round(float(exact.abs().max()), 3),
        "relative_mean": round(float(error.mean()), 5),
        "relative_largest": round(float(error.max()), 5),
        "of_spread_between_patches": round(float((half - exact).norm(dim=1).mean() / spread), 4),
        "float16_storage_relative": round(float((exact.half().float() - exact).norm() / exact.norm()), 6),
    }


def time_sharpness(region: NDArray[np.uint8]) -> float:
    """Milliseconds of the sharpness of a region, median of 5."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        sharpness(torch.from_numpy(region), MPP)
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times)), 2)


def measure(folder: Path, large: bool, repeats: int) -> dict[str, object]:
    """All figures."""
    picture, small = folder / "large.tiff", folder / "small.tiff"
    write_slide(picture, tissue_like(10240), MPP, 85)
    write_slide(small, tissue_like(2048), MPP, 85)
    demo = PatchEncoder(Settings(**COMMON | DEMO), None, DEMO_BATCH)
    results: dict[str, object] = {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}

    many = make_slide(folder, "many", 512, 20, 20, picture)
    regions = regions_of(picture, 512, 20, 20)
    results["demo_one_slide"] = compare(demo, [many], regions, folder, repeats)
    slides = [make_slide(folder, f"s{n}", 512, 4, 3, small) for n in range(14)]
    results["demo_14_slides"] = compare(demo, slides, regions_of(small, 512, 4, 3) * 14, folder, repeats)
    results["demo_sharpness_ms"] = time_sharpness(regions[0])

    few = make_slide(folder, "few", 512, 2, 2, picture)
    memory = {"4_regions": peak_memory(few, folder), "400_regions": peak_memory(many, folder)}
    results["peak_memory"] = memory
    region = regions_of(picture, 4096, 1, 1)
    results["bf16"] = half_precision(region[0])
    results["paper_sharpness_ms"] = time_sharpness(region[0])
    if large:
        paper = PatchEncoder(Settings(**COMMON | PAPER), None, PAPER_BATCH)
        two = [make_slide(folder, "paper", 4096, 2, 1, picture)]
        results["paper_one_slide"] = compare(paper, two, regions_of(picture, 4096, 2, 1), folder, 1)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also ViT-S/16 on regions of 4096 px: minutes")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), args.large, args.repeats)
    for name, figures in results.items():
        print(name, figures)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

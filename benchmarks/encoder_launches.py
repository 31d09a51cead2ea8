"""What encoding a region asks of a GPU, counted on a device that computes nothing (`benchmarks/null_cuda`).

Regions come from page-locked shared memory, from memory that is not, and from the device itself. The last line is JSON.
Usage: `python -m benchmarks.encoder_launches [--region-px 4096] [--batch-patches 64]`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.null_cuda import counted, reset
from benchmarks.roofline import on_null_device
from benchmarks.slides_encoding import COMMON, MPP, PAPER
from slpd.models.page_locked import page_locked
from slpd.models.patch_encoder import Encoding, PatchEncoder
from slpd.settings.slides import PatchEncoderSettings as Settings

REGIONS = 3
Report = dict[str, float]


def count(start: Callable[[], Encoding]) -> Report:
    """What REGIONS regions cost, each but the first while the one before is under way."""
    start().result()
    reset()
    torch.cuda.reset_peak_memory_stats()
    under_way = [start() for _ in range(REGIONS)]
    seen = counted()
    for encoding in under_way:
        encoding.wait_for_pixels()
        encoding.result()
    return {
        "waits": sum(entry.times for entry in seen if entry.name.startswith("wait")),
        "pageable_copies": sum(entry.times for entry in seen if "pageable" in entry.name),
        "host_allocations": sum(entry.times for entry in seen if entry.name == "host allocation"),
        "host_bytes": sum(entry.amount for entry in seen if "pinned to device" in entry.name) / REGIONS,
        "launches": sum(entry.times for entry in seen if entry.name.startswith("kernel")) / REGIONS,
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


def measure(region_px: int, batch_patches: int) -> dict[str, Report]:
    """All three ways."""
    torch.backends.cudnn.enabled = False  # the device knows no cuDNN
    torch.backends.cuda.enable_cudnn_sdp(False)
    encoder = PatchEncoder(Settings(**COMMON | PAPER), None, batch_patches)
    region = np.zeros((region_px, region_px, 3), np.uint8)
    on_device = torch.zeros(region.shape, dtype=torch.uint8, device=encoder.device)
    report = {"pageable": count(lambda: encoder.start(region, MPP))}
    with page_locked(region, encoder.device):
        report["page_locked"] = count(lambda: encoder.start(region, MPP))
    report["on_device"] = count(lambda: encoder.start(on_device, MPP))
    return report


def main() -> None:
    """Count, in a process that has the device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--region-px", type=int, default=4096)
    parser.add_argument("--batch-patches", type=int, default=64, help="patches encoded at a time")
    args = parser.parse_args()
    if "NULL_CUDA" not in os.environ:
        report: dict[str, Any] = on_null_device("benchmarks.encoder_launches", *sys.argv[1:])
    else:
        report = measure(args.region_px, args.batch_patches)
    print(json.dumps(report), flush=True)
    if "NULL_CUDA" in os.environ:
        os._exit(0)


if __name__ == "__main__":
    main()

"""What encoding a region asks of a GPU, counted on a device that computes nothing (`benchmarks/null_cuda`).

Regions come from page-locked shared memory, from memory that is not, and from the device itself, the last also with
timm's own blocks. Bytes are counted as for a training step (`benchmarks/roofline.py`). The last line is JSON.
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
from torch import Tensor, nn

from benchmarks.null_cuda import counted, reset
from benchmarks.roofline import bytes_of, device_tensors, on_null_device, traffic
from benchmarks.slides_encoding import COMMON, MPP, PAPER
from slpd.models import fused_blocks
from slpd.models.page_locked import page_locked
from slpd.models.patch_encoder import Encoding, PatchEncoder, split_patches
from slpd.settings.slides import PatchEncoderSettings as Settings

REGIONS = 3
LAUNCHES = ("kernel", "compiled kernel")
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
        "launches": sum(entry.times for entry in seen if entry.name.startswith(LAUNCHES)) / REGIONS,
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


def traffic_of(encoder: PatchEncoder, region: Tensor) -> Report:
    """Bytes that kernels move for a region's tokens, by operation."""
    patches, add_norm = split_patches(region, encoder.settings.patch_px), fused_blocks.add_norm

    def counted_add_norm(*given: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        results = add_norm(*given)
        moved["add_norm"] += sum(map(bytes_of, device_tensors((given, results))))
        return results

    fused_blocks.add_norm = counted_add_norm  # type: ignore[assignment]  # Triton's kernels are no operations of torch
    with torch.no_grad(), traffic() as moved:  # in inference mode operations are not seen by their parts
        for batch in torch.split(patches, encoder.batch_patches):
            encoder.forward(batch)
    fused_blocks.add_norm = add_norm
    return {"all": sum(moved.values()), **dict(moved.most_common())}


def measure(region_px: int, batch_patches: int) -> dict[str, Report]:
    """All ways."""
    torch.backends.cudnn.enabled = False  # the device knows no cuDNN
    torch.backends.cuda.enable_cudnn_sdp(False)
    encoder = PatchEncoder(Settings(**COMMON | PAPER), None, batch_patches)
    region = np.zeros((region_px, region_px, 3), np.uint8)
    on_device = torch.zeros(region.shape, dtype=torch.uint8, device=encoder.device)
    report = {"pageable": count(lambda: encoder.start(region, MPP))}
    with page_locked(region, encoder.device):
        report["page_locked"] = count(lambda: encoder.start(region, MPP))
    report["on_device"] = count(lambda: encoder.start(on_device, MPP))
    report["bytes"] = traffic_of(encoder, on_device)
    encoder.model.blocks = nn.Sequential(*encoder.model.get_submodule("blocks").children())
    report["timms_blocks"] = count(lambda: encoder.start(on_device, MPP))
    report["timms_bytes"] = traffic_of(encoder, on_device)
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

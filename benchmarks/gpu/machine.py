"""What the machine is, and how fast its GPU is at what the method is made of."""

import argparse
import platform
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version

import torch
from torch.nn.attention import sdpa_kernel

from benchmarks.gpu.timing import Rows, seconds_of
from slpd.models.short_attention import attend
from slpd.training.attention import BACKENDS, OURS, by_torch, forward_and_back

PACKAGES = (
    "torchvision",
    "triton",
    "timm",
    "cucim-cu13",
    "nvidia-nvjpeg",
    "nvidia-nvimgcodec-cu13",
    "nvidia-nvtiff-cu13",
    "faiss-gpu",
    "numpy",
)
PRODUCTS = ((8192, 8192, 8192), (201728, 768, 192), (201728, 192, 768), (201728, 576, 192), (5120, 16384, 256))
VIEWS = ((1024, 197), (4096, 37))  # views and their tokens: batch 512


def environment(args: argparse.Namespace) -> Rows:
    """Card and versions."""
    yield "Python, torch, CUDA", f"{platform.python_version()}, {torch.__version__}, {torch.version.cuda}"
    if args.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        yield "card", f"**{card.name}**, {card.total_memory / 1e9:.0f} GB, {card.multi_processor_count} processors"
        yield "cuDNN", str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def ceilings(args: argparse.Namespace) -> Rows:
    """What copies and products reach."""
    device, seconds = torch.device(args.device), 0.05 if args.tiny else 0.5
    n = 2**20 if args.tiny else 2**30
    source, target = (torch.empty(n, dtype=torch.uint8, device=device) for _ in range(2))
    taken = seconds_of(lambda: target.copy_(source), device, seconds)
    yield "copy, read and written", f"{2 * n / taken / 1e12:.3f} TB/s"
    for rows, columns, inner in PRODUCTS:
        m = min(rows, 64) if args.tiny else rows
        a, b = (torch.randn(size, inner, device=device, dtype=torch.bfloat16) for size in (m, columns))
        taken = seconds_of(lambda: a @ b.t(), device, seconds)  # noqa: B023 - called at once
        moved = 2 * (m * columns + (m + columns) * inner)
        rates = f"{2 * m * columns * inner / taken / 1e12:.1f} TFLOP/s, {moved / taken / 1e12:.2f} TB/s"
        yield f"bfloat16 product {m} × {columns} × {inner}", rates


def attention(args: argparse.Namespace) -> Rows:
    """Kernels of attention, forward and back, at the sizes of a step: from packed tokens to their gradients."""
    device = torch.device(args.device)
    for n, n_tokens in VIEWS:
        views = 2 if args.tiny else n
        tokens = torch.randn(views, n_tokens, 3 * 192, device=device, dtype=torch.bfloat16, requires_grad=True)
        for name in ("torch's choice", *BACKENDS, *([OURS] if args.device == "cuda" else [])):
            kernels = attend if name == OURS else by_torch
            with sdpa_kernel(BACKENDS[name]) if name in BACKENDS else nullcontext():
                try:
                    taken = seconds_of(lambda: forward_and_back(kernels, tokens, 6), device, 0.02 if args.tiny else 0.3)  # noqa: B023
                except RuntimeError as error:  # not for these sizes, or this device
                    yield f"{views} views of {n_tokens}, {name}", str(error).partition("\n")[0][:100]
                    continue
            yield f"{views} views of {n_tokens}, {name}", f"{1e6 * taken:.0f} µs"

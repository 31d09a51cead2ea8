"""Which of torch's attention kernels training uses: heads 32 wide and views of 37 or 197 tokens are unusual sizes."""

import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from slpd.settings.jobs import AttentionBackend
from slpd.settings.training import RegionEncoder
from slpd.training.precision import Precision

logger = logging.getLogger(__name__)

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
WARM_UP, CALLS = 3, 10
Views = Sequence[tuple[int, int]]  # (how many, their side in patches)


def choose_attention(wanted: AttentionBackend, views: Views, encoder: RegionEncoder, precision: Precision) -> str:
    """Have torch use one kernel on a GPU, besides the one written out, from now on in this process.

    Args:
        wanted: Which; auto: the one that is fastest at these views, forward and back.
        views: Those that go through the network together.
        encoder: Width and heads.
        precision: Device and type of the products.

    Returns:
        Its name; empty on a CPU, and where none works at all of these sizes.
    """
    if precision.device.type == "cpu":
        return ""
    if wanted == "auto":
        times = {name: milliseconds(backend, views, encoder, precision) for name, backend in BACKENDS.items()}
        logger.info("attention, ms of a block: %s", ", ".join(f"{name} {time:.3f}" for name, time in times.items()))
        chosen = min(times, key=lambda name: times[name])
        if math.isinf(times[chosen]):
            return ""
    else:
        chosen = wanted
    torch.backends.cuda.enable_flash_sdp(chosen == "flash")
    torch.backends.cuda.enable_cudnn_sdp(chosen == "cudnn")
    torch.backends.cuda.enable_mem_efficient_sdp(chosen == "efficient")
    logger.info("attention by %s", chosen)
    return chosen


def milliseconds(backend: SDPBackend, views: Views, encoder: RegionEncoder, precision: Precision) -> float:
    """The time of one block's attention, forward and back, over all views; infinite where a size is refused."""
    try:
        with sdpa_kernel(backend):
            return sum(time_of(n, 1 + side**2, encoder, precision) for n, side in views)
    except RuntimeError:  # the kernel is not for this card, type or size, or a library of it is missing
        return math.inf


def time_of(n: int, n_tokens: int, encoder: RegionEncoder, precision: Precision) -> float:
    """Milliseconds for n views of so many tokens."""
    shape = (n, encoder.heads, n_tokens, encoder.width // encoder.heads)
    inputs = [torch.zeros(shape, dtype=precision.dtype, device=precision.device, requires_grad=True) for _ in range(3)]
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    for call in range(WARM_UP + CALLS):
        if call == WARM_UP:
            start.record()
        forward_and_back(*inputs)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / CALLS


def forward_and_back(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Attention, and its gradients."""
    mixed = F.scaled_dot_product_attention(q, k, v)
    torch.autograd.grad(mixed, (q, k, v), torch.ones_like(mixed))

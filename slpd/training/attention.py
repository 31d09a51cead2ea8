"""Which kernels of attention training uses: heads 32 wide and views of 37 or 197 tokens are unusual sizes."""

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from slpd.errors import UserError
from slpd.models.region_encoder import Attention, attend_by_torch
from slpd.settings.jobs import AttentionBackend
from slpd.settings.training import RegionEncoder
from slpd.training.precision import Precision

logger = logging.getLogger(__name__)

OURS = "short"
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
WARM_UP, CALLS = 3, 10
Views = Sequence[tuple[int, int]]  # (how many, their side in patches)
Kernels = Callable[[Tensor, Tensor, int], Tensor]  # as `attend_by_torch`, without a mask


def choose_attention(wanted: AttentionBackend, views: Views, encoder: RegionEncoder, precision: Precision) -> str:
    """Have training use one kind of kernels on a GPU, besides the one written out, from now on in this process.

    Args:
        wanted: Which; auto: the one that is fastest at these views, forward and back.
        views: Those that go through the network together.
        encoder: Width and heads.
        precision: Device and type of the products.

    Returns:
        Its name; empty on a CPU, and where none works at all of these sizes.

    Raises:
        UserError: our kernels are asked for where they do not serve.
    """
    Attention.kernels = None
    if precision.device.type == "cpu":
        return ""
    chosen = fastest(views, encoder, precision) if wanted == "auto" else wanted
    if not chosen:
        return ""
    if chosen == OURS:
        try:
            Attention.kernels = short_attention(views, encoder, precision)
        except ValueError as error:
            raise UserError(f"jobs.attention {OURS}: {error}; set it to auto") from error
    else:
        torch.backends.cuda.enable_flash_sdp(chosen == "flash")
        torch.backends.cuda.enable_cudnn_sdp(chosen == "cudnn")
        torch.backends.cuda.enable_mem_efficient_sdp(chosen == "efficient")
    logger.info("attention by %s", chosen)
    return chosen


def fastest(views: Views, encoder: RegionEncoder, precision: Precision) -> str:
    """The name of the kernels that are fastest at these views; empty: none works."""
    times = {name: milliseconds(name, views, encoder, precision) for name in (OURS, *BACKENDS)}
    logger.info("attention, ms of a block: %s", ", ".join(f"{name} {time:.3f}" for name, time in times.items()))
    chosen = min(times, key=lambda name: times[name])
    return "" if math.isinf(times[chosen]) else chosen


def milliseconds(name: str, views: Views, encoder: RegionEncoder, precision: Precision) -> float:
    """The time of one block's attention, forward and back, over all views; infinite where a size is refused."""
    try:
        if name == OURS:
            kernels = short_attention(views, encoder, precision)
            return sum(time_of(kernels, n, 1 + side**2, encoder, precision) for n, side in views)
        with sdpa_kernel(BACKENDS[name]):
            return sum(time_of(by_torch, n, 1 + side**2, encoder, precision) for n, side in views)
    except Exception as error:  # not for this card, type or size; a library or a compiler is missing
        logger.info("no attention by %s: %s", name, str(error).partition("\n")[0])
        return math.inf


def short_attention(views: Views, encoder: RegionEncoder, precision: Precision) -> Kernels:
    """Our kernels.

    Raises:
        ValueError: they are not made for these sizes, or not for products in this precision.
    """
    from slpd.models.short_attention import attend, takes  # noqa: PLC0415 - imports Triton, for GPUs alone

    n_tokens, width = 1 + max(side for _, side in views) ** 2, encoder.width // encoder.heads
    if precision.dtype == torch.float32 or not takes(width, n_tokens):
        raise ValueError(
            f"they are for half precision and few, narrow tokens; here are {precision.dtype}, heads of {width} and"
            f" {n_tokens} tokens"
        )
    return attend


def by_torch(tokens_q: Tensor, tokens_kv: Tensor, heads: int) -> Tensor:
    """Torch's kernels."""
    return attend_by_torch(tokens_q, tokens_kv, heads, None)


def time_of(kernels: Kernels, n: int, n_tokens: int, encoder: RegionEncoder, precision: Precision) -> float:
    """Milliseconds for n views of so many tokens."""
    shape = (n, n_tokens, 3 * encoder.width)
    tokens = torch.randn(shape, dtype=precision.dtype, device=precision.device).requires_grad_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    for call in range(WARM_UP + CALLS):
        if call == WARM_UP:
            start.record()
        forward_and_back(kernels, tokens, encoder.heads)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / CALLS


def forward_and_back(kernels: Kernels, tokens: Tensor, heads: int) -> None:
    """Attention of packed queries, keys and values, and its gradients."""
    mixed = kernels(tokens, tokens, heads)
    torch.autograd.grad(mixed, tokens, torch.ones_like(mixed))

"""Where the patch tokens of a process's regions are during training, and how those of a batch reach its device."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.errors import UserError
from slpd.settings.jobs import TokenPlace
from slpd.training.memory import SHARE, free_bytes

logger = logging.getLogger(__name__)

Gather = Callable[[NDArray[np.int64], Tensor], None]  # fills a host tensor with the tokens of some regions
AHEAD = 2  # batches under way while one is trained


class TokenStore(Protocol):
    """Tokens of some regions of a cohort."""

    device: torch.device

    def fetch(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """Bring the (b,) regions of each batch.

        Yields:
            (n, grid, grid, width) tokens on the device, and (b,) which of the n the regions are.
        """


class ResidentTokens:
    """All tokens in the memory of the device."""

    def __init__(self, tokens: Tensor, regions: NDArray[np.int64]) -> None:
        """Take (n, grid, grid, width) tokens of the n sorted `regions`."""
        self.tokens, self.regions, self.device = tokens, regions, tokens.device

    def fetch(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """See TokenStore."""
        return ((self.tokens, np.searchsorted(self.regions, batch)) for batch in batches)


class StagedTokens:
    """Tokens outside the device; a thread gathers and sends the next batches while one is trained."""

    def __init__(self, gather: Gather, cohort: CohortTokens, device: torch.device) -> None:
        """Bring tokens to `device`.

        Args:
            gather: Fills (b, grid, grid, width) with the tokens of b regions.
            cohort: For the shape of a region.
            device: Where batches are wanted.
        """
        self.gather, self.device, self.shape = gather, device, (cohort.grid, cohort.grid, cohort.width)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def fetch(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """See TokenStore."""
        waiting = iter(batches)
        on_device = (torch.cuda.set_device, (self.device,)) if self.stream else (None, ())
        with ThreadPoolExecutor(1, "tokens", *on_device) as thread:
            coming = [thread.submit(self.send, batch) for batch in islice(waiting, AHEAD)]
            while coming:
                tokens, arrival = coming.pop(0).result()
                coming += [thread.submit(self.send, batch) for batch in islice(waiting, 1)]
                if arrival is not None:
                    torch.cuda.current_stream(self.device).wait_event(arrival)
                    tokens.record_stream(torch.cuda.current_stream(self.device))
                yield tokens, np.arange(len(tokens))

    def send(self, regions: NDArray[np.int64]) -> tuple[Tensor, torch.cuda.Event | None]:
        """Gather the tokens of a batch and start sending them; the event tells when a GPU has them."""
        on_host = torch.empty((len(regions), *self.shape), dtype=torch.float16, pin_memory=self.stream is not None)
        self.gather(regions, on_host)
        if self.stream is None:
            return on_host, None
        with torch.cuda.stream(self.stream):  # the caching allocator keeps the host memory until the copy is done
            return on_host.to(self.device, non_blocking=True), self.stream.record_event()


def open_token_store(
    cohort: CohortTokens, regions: NDArray[np.int64], device: torch.device, place: TokenPlace, reserve: int
) -> TokenStore:
    """Put the tokens of some regions where they fit, and log where.

    Args:
        cohort: The token files.
        regions: Sorted; those that this process needs.
        device: Where they are trained.
        place: device, host or disk; auto: the first in which they fit.
        reserve: Bytes of the device's memory that training needs.
    """
    size = cohort.region_bytes * len(regions)
    if place == "device" and device.type == "cpu" and size > free_bytes(device):
        logger.warning("jobs.tokens is device, but %.1f GB of tokens exceed the free memory", size / 1e9)
    chosen = place if place != "auto" else roomy_place(size, device, reserve)
    logger.info("patch tokens of %d regions, %.1f GB, in %s", len(regions), size / 1e9, place_in_words(chosen, device))
    if chosen == "disk":
        return StagedTokens(lambda wanted, out: gather_from_files(cohort, wanted, out), cohort, device)
    target = device if chosen == "device" else torch.device("cpu")
    shape = (len(regions), cohort.grid, cohort.grid, cohort.width)
    try:
        tokens = torch.empty(shape, dtype=torch.float16, device=target)
    except (RuntimeError, MemoryError) as error:  # torch's out-of-memory errors
        raise UserError(
            f"jobs.tokens: {len(regions)} regions, {size / 1e9:.1f} GB, do not fit in {place_in_words(chosen, device)}"
            " (set it to auto, host or disk, or train on more GPUs)"
        ) from error
    for part, values in cohort.by_slide(regions):
        tokens[part] = torch.from_numpy(values)
    if target == device:
        return ResidentTokens(tokens, regions)
    return StagedTokens(lambda wanted, out: gather_from_host(tokens, regions, wanted, out), cohort, device)


def roomy_place(size: int, device: torch.device, reserve: int) -> Literal["device", "host", "disk"]:
    """The fastest place with room for `size` bytes."""
    if size + reserve < SHARE * free_bytes(device):
        return "device"
    if device.type == "cuda" and size < SHARE * free_bytes(torch.device("cpu")):
        return "host"
    return "disk"


def place_in_words(place: str, device: torch.device) -> str:
    """A place in words."""
    if place == "disk":
        return "their files, read ahead"
    if device.type == "cpu":
        return "memory"
    own = f"the memory of {torch.cuda.get_device_name(device)}"
    return own if place == "device" else "memory of the host, sent ahead from page-locked memory"


def gather_from_host(tokens: Tensor, regions: NDArray[np.int64], wanted: NDArray[np.int64], out: Tensor) -> None:
    """Copy the tokens of the wanted regions out of those of the sorted `regions`."""
    torch.index_select(tokens, 0, torch.from_numpy(np.searchsorted(regions, wanted)), out=out)


def gather_from_files(cohort: CohortTokens, wanted: NDArray[np.int64], out: Tensor) -> None:
    """Read the tokens of the wanted regions from their files, in the order of the files."""
    order = np.argsort(wanted, kind="stable")
    target = out.numpy()
    for part, values in cohort.by_slide(wanted[order]):
        target[order[part]] = values

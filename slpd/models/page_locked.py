"""Memory that a GPU copies from by itself, without a copy of ours in between."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from numpy.typing import NDArray

log = logging.getLogger(__name__)


@contextmanager
def page_locked(memory: NDArray[np.uint8], device: torch.device) -> Iterator[None]:
    """Lock memory in place as long as a GPU copies from it; where that is not possible, it is used as it is."""
    if device.type == "cpu":
        yield
        return
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    status = int(runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0))
    if status:
        log.warning(
            "memory of %d bytes is not page-locked (CUDA error %d): each region is copied to memory that is",
            memory.nbytes,
            status,
        )
        with suppress(RuntimeError):  # CUDA keeps its error until a launch is asked for it
            torch.ones(1, device=device)
    try:
        yield
    finally:
        if not status:
            torch.cuda.synchronize(device)  # nothing is copied any more
            runtime.cudaHostUnregister(memory.ctypes.data)

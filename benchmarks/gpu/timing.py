"""Times of what runs on a device."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch

Rows = Iterator[tuple[str, str]]  # what was measured, and the figure with its unit


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(call: Callable[[], object], device: torch.device, least_s: float, warm_up: int = 2) -> float:
    """Median seconds of a call, the device's work included."""
    for _ in range(warm_up):
        call()
    synchronise(device)
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < least_s or len(times) < 3:
        at = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - at)
    return statistics.median(times)

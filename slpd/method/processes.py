"""Several training processes: sums over them, and this one's index. A single process sums to the value itself."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor


def n_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_index() -> int:
    """This process's index; process 0 alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of `value` over all processes, in place, the same on each."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def begin_sum_over_processes(value: Tensor) -> Callable[[], object]:
    """Begin what `sum_over_processes` does, and return what waits for its end."""
    return dist.all_reduce(value, async_op=True).wait if dist.is_initialized() else lambda: None


Value = TypeVar("Value")


def gather_at_first(value: Value) -> list[Value] | None:
    """What each process has, in their order, in process 0; None in the others."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Value] | None = [value] * n_processes() if process_index() == 0 else None
    dist.gather_object(value, gathered)
    return gathered


def from_first(value: Value) -> Value:
    """What process 0 has, in every process."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]

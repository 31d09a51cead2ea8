"""Several training processes: sums over them, and who this one is. Alone, every sum is the value itself."""

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

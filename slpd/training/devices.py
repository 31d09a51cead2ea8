"""Where training runs: one GPU per process, or the CPU; alone or in a group started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

THREADS = 2  # on the CPU, as the rules ask for: sums are split among threads, so their number moves the last bits
PATIENCE = timedelta(hours=6)  # of processes that wait while the first one renews prototypes of a large cohort


@contextmanager
def training_device() -> Iterator[torch.device]:
    """This process's device; inside the block, the processes that torchrun started form a group."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if not cuda:
        torch.set_num_threads(THREADS)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()

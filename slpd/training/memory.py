"""Where the tokens of a cohort and the activations of a step go, from the memory that is free."""

import logging
import os
from pathlib import Path

import torch

from slpd.settings.training import RegionEncoder, Training

logger = logging.getLogger(__name__)

# Bytes that training keeps of a patch in one block, per unit of width, under autocast: two float32 residuals, then at
# two bytes two norms, q, k, v, their mixture and projection, and twice the fourfold width of the perceptron.
ACTIVATION_BYTES = 2 * 4 + 2 * (2 + 3 + 2 + 2 * 4 + 1)
# Bytes that the loss holds of a view at once, per output: products, log-softmax and the gradients of both in float32;
# targets have a fourth as many rows or less.
LOGIT_BYTES = 5 * 4
# Of activations, by `activation_bytes`, on a CPU: 8 regions of the paper's network, whole batches of small ones. In
# float32 they take about twice as much. Not what is free: sums are cut into as many parts on every machine.
CPU_BYTES = 400 * 10**6
FEWEST_REGIONS = 64  # whose activations should fit on a GPU together with the tokens
STEP_BYTES = 3 * 10**9  # networks, moments, gradients
SHARE = 0.8  # of free memory, to rely on


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a GPU, or this process's share of what is free on the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = {
        name: int(rest.split()[0]) * 1024
        for name, rest in (line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    }["MemAvailable"]
    membership = Path("/proc/self/cgroup").read_text()
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that torchrun started on this machine
    return min([available, *group_limits(Path("/sys/fs/cgroup"), membership)]) // sharing


def group_limits(root: Path, membership: str) -> list[int]:
    """What control groups leave a process: the memory that a queue granted its job.

    Args:
        root: Where control groups are mounted.
        membership: Lines as in /proc/self/cgroup, of version 1 or 2.

    Returns:
        Bytes left in the process's group and in those around it, where they are limited.
    """
    left = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names, mount = ("memory.max", "memory.current"), root
        elif "memory" in controllers.split(","):
            names, mount = ("memory.limit_in_bytes", "memory.usage_in_bytes"), root / "memory"
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, used = (folder / name for name in names)
            if folder.is_relative_to(mount) and limit.exists() and used.exists():
                most = limit.read_text().strip()
                left += [] if most == "max" else [max(0, int(most) - int(used.read_text()))]
    return left


def activation_bytes(encoder: RegionEncoder, training: Training) -> int:
    """Bytes that one step keeps of one region, all views, logits among them."""
    patches = 2 * (1 + training.global_crop**2) + training.n_local_views * (1 + training.local_crop**2)
    logits = (2 + training.n_local_views) * encoder.outputs
    return patches * encoder.depth * encoder.width * ACTIVATION_BYTES + logits * LOGIT_BYTES


def reserve_bytes(encoder: RegionEncoder, training: Training) -> int:
    """Memory of a device that training needs besides the tokens."""
    return STEP_BYTES + FEWEST_REGIONS * activation_bytes(encoder, training)


def regions_at_once(
    encoder: RegionEncoder, training: Training, device: torch.device, share: int, given: int | None
) -> int:
    """How many of a process's `share` of a batch go through the student together."""
    room = CPU_BYTES if device.type == "cpu" else int(SHARE * (free_bytes(device) - STEP_BYTES))
    most = given or max(1, room // activation_bytes(encoder, training))
    n_parts = -(-share // most)
    chosen = -(-share // n_parts)  # parts of nearly equal size
    if device.type != "cpu":  # of equal size, if not much smaller: networks are compiled for each size
        whole = max(n for n in range(1, min(most, share) + 1) if share % n == 0)
        chosen = whole if 2 * whole >= chosen else chosen
    logger.info("%d of %d regions of a batch at once", chosen, share)
    return chosen

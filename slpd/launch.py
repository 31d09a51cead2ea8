"""Several processes for one stage: torchrun on one machine, SLURM's srun and torchrun's rendezvous over several.

In a job of SLURM a stage that trains is a step of its own, even alone on one node. At the time limit SLURM sends SIGTERM to
all processes, the job's shells die of it at once, and what is left of their step is killed: a step of its own
has `KillWait` (30 s) to save its state.
"""

import os
import shutil
import socket
import sys
from collections.abc import Sequence

from slpd.errors import UserError

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ALONE = "alone"  # rendezvous of a step on one node


def launch(processes: int, nodes: int, rendezvous: str | None, stage: Sequence[str]) -> None:
    """Replace this process by one that runs a stage in `processes` processes; return if this one is enough.

    Args:
        processes: Processes in all, one per GPU.
        nodes: Nodes of the SLURM job that they are on.
        rendezvous: Where srun has started this process: `host:port` at which the nodes meet, or ALONE.
        stage: The stage and its arguments.

    Raises:
        UserError: the processes cannot be on so many nodes, or this is no job of SLURM.
    """
    check_nodes(processes, nodes)
    if rendezvous is None and in_job():
        meeting = ALONE if nodes == 1 else f"{socket.gethostname()}:{free_port()}"
        execute(srun(processes, nodes, meeting, stage))
    if rendezvous not in (None, ALONE):
        execute(torchrun(meeting_at(rendezvous, nodes), here(processes, nodes), stage))
    if processes > 1:
        execute(torchrun(["--standalone"], processes, stage))


def in_job() -> bool:
    """Whether this process is in a job of SLURM, and can start steps."""
    return "SLURM_JOB_ID" in os.environ and shutil.which("srun") is not None


def execute(command: Sequence[str]) -> None:
    """Replace this process."""
    os.execvp(command[0], list(command))


def torchrun(options: Sequence[str], processes: int, stage: Sequence[str]) -> list[str]:
    """The command that runs the stage in `processes` processes on this machine."""
    # `--`: torchrun would take options of the stage for abbreviations of its own
    return [*TORCHRUN, *options, "--nproc-per-node", str(processes), "-m", "--", "slpd", *stage]


def srun(processes: int, nodes: int, rendezvous: str, stage: Sequence[str]) -> list[str]:
    """The command that starts this program once on each node of the job, to meet at `rendezvous`."""
    # One node that fails ends the step: the others would wait for it. --overlap: the launcher itself holds a CPU, and
    # the step gets all that the job has; GPUs of several nodes alone must be asked for again.
    step = ["srun", "--jobid", os.environ["SLURM_JOB_ID"], "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    geometry = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    gpus = ["--gpus", str(processes)] if nodes > 1 else []
    own = ["--processes", str(processes), "--nodes", str(nodes), "--rendezvous", rendezvous]
    return [*step, *geometry, *gpus, sys.executable, "-m", "slpd", *own, *stage]


def meeting_at(rendezvous: str | None, nodes: int) -> list[str]:
    """Options of torchrun for nodes that meet at `host:port`."""
    job = os.environ.get("SLURM_JOB_ID", "slpd")
    return ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-id", job, "--rdzv-endpoint", str(rendezvous)]


def here(processes: int, nodes: int) -> int:
    """Processes on this node: its GPUs, which SLURM may have dealt out unevenly, else an equal share."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(devices.split(",")) if devices else processes // nodes


def check_nodes(processes: int, nodes: int) -> None:
    """Refuse nodes without a process, shares that are not whole, and several nodes outside SLURM."""
    if processes % nodes:
        raise UserError(
            f"gpu is {processes}, nodes {nodes}: gpu counts all nodes together; make it a multiple of nodes"
        )
    if nodes > 1 and not in_job():
        raise UserError(f"nodes is {nodes}, but this is no job of SLURM, which alone starts processes on other nodes")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])

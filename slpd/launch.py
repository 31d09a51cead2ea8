"""Several processes for one stage: torchrun on one machine, SLURM's srun and torchrun's rendezvous over several."""

import os
import shutil
import socket
import sys
from collections.abc import Sequence

from slpd.errors import UserError

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def launch(processes: int, nodes: int, rendezvous: str | None, stage: Sequence[str]) -> None:
    """Replace this process by `processes` processes that run a stage; return if this one is enough.

    Args:
        processes: Processes in all, one per GPU.
        nodes: Nodes of the SLURM job that they are on.
        rendezvous: `host:port` at which the nodes meet, where srun has started this process on one of them.
        stage: The stage and its arguments.

    Raises:
        UserError: the processes cannot be on so many nodes, or this is no job of SLURM.
    """
    check_nodes(processes, nodes)
    if nodes > 1 and rendezvous is None:
        execute(srun(processes, nodes, f"{socket.gethostname()}:{free_port()}", stage))
    if rendezvous:
        execute(torchrun(meeting_at(rendezvous, nodes), here(processes, nodes), stage))
    if processes > 1:
        execute(torchrun(["--standalone"], processes, stage))


def in_job() -> bool:
    """Whether this process is in a job of SLURM, and can ask for its clients."""
    return "SLURM_JOB_ID" in os.environ and shutil.which("srun") is not None


def execute(command: Sequence[str]) -> None:
    """Replace this process."""
    os.execvp(command[0], list(command))


def torchrun(options: Sequence[str], processes: int, stage: Sequence[str]) -> list[str]:
    """The command that runs the stage in `processes` processes on this machine."""
    # `--`: torchrun would read options of the stage as abbreviations of its own options
    return [*TORCHRUN, *options, "--nproc-per-node", str(processes), "-m", "--", "slpd", *stage]


def srun(processes: int, nodes: int, rendezvous: str, stage: Sequence[str]) -> list[str]:
    """The command that starts this program once on each node of the job, to meet at `rendezvous`."""
    # One node that fails ends the step: the others would wait for it. --overlap: the launcher itself holds a CPU.
    step = ["srun", "--jobid", os.environ["SLURM_JOB_ID"], "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    geometry = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1", "--gpus", str(processes)]
    own = ["--processes", str(processes), "--nodes", str(nodes), "--rendezvous", rendezvous]
    return [*step, *geometry, sys.executable, "-m", "slpd", *own, *stage]


def meeting_at(rendezvous: str, nodes: int) -> list[str]:
    """Options of torchrun for nodes that meet at `host:port`."""
    job = os.environ.get("SLURM_JOB_ID", "slpd")
    return ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-id", job, "--rdzv-endpoint", rendezvous]


def here(processes: int, nodes: int) -> int:
    """Processes on this node: its GPUs, which SLURM may have shared out unevenly, else an equal share."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(devices.split(",")) if devices else processes // nodes


def check_nodes(processes: int, nodes: int) -> None:
    """Refuse nodes without a process, shares that are not whole, and several nodes outside SLURM."""
    if processes % nodes:
        raise UserError(
            f"gpu is {processes}, nodes {nodes}: gpu counts all nodes together; make it a multiple of nodes"
        )
    if nodes > 1 and not in_job():
        raise UserError(f"nodes is {nodes}, but only a job of SLURM can start processes on other nodes")


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])

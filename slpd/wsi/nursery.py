"""The process that forks the reading processes of slides: `python -m slpd.wsi.nursery <socket>` (file descriptor).

It has one thread, as a process that forks must. Readers end with it, and it ends with the process that started it.

Why not the fork server of `multiprocessing`, which forks as cheaply and would be ten lines:

- Its children import the main module of the program that uses slides. Where that imports torch, so do readers, and
  cuCIM crashes after torch; and a script without `if __name__ == "__main__"` could open no slide at all.
- Children hold the pipe whose end tells the server to stop. If the user of a slide is killed while its reader hangs in
  a decoder, both stay; if the server is killed, readers stay too, and their exit status is unknown.
- There is one server per program: whoever starts it first decides what it has imported, torch perhaps.

`tests/test_wsi_process.py` has a test of each but the last.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from slpd.wsi.messages import NEEDS, STATUS, Need
from slpd.wsi.worker import read_slide

NVIDIA_DRIVER = Path("/dev/nvidiactl")
PR_SET_PDEATHSIG = 1  # prctl: the signal that a process gets when the one that forked it ends


def main() -> None:
    """Fork and end readers until the other process closes the connection."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the process that asks, which then ends this one
        signal.signal(number, signal.SIG_IGN)
    asker, prctl = socket.socket(fileno=int(sys.argv[1])), ctypes.CDLL(None).prctl
    while True:
        message, descriptors, _, _ = socket.recv_fds(asker, NEEDS.size, 2)
        if not message:
            return
        need, reader = NEEDS.unpack(message)
        if need != Need.READER:
            asker.send(STATUS.pack(end(reader) if need == Need.END else import_cucim()))
            continue
        reader = os.fork()
        if not reader:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            asker.close()
            become_reader(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        asker.send(STATUS.pack(reader))


def become_reader(connection: int, memory: int) -> NoReturn:
    """Read a slide, then exit at once, without the exit handlers that belong to the forking process."""
    try:
        read_slide(connection, memory)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def end(reader: int) -> int:
    """End a reader unless it has ended; its exit status, negative if a signal ended it."""
    os.kill(reader, signal.SIGKILL)  # a process that has ended keeps its id until it is waited for
    return os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1])


def import_cucim() -> int:
    """Import cuCIM for later readers (0.1 s); whether that worked.

    Not where there is a driver for GPUs: what CUDA may set up, threads among it, does not survive a fork.
    """
    if NVIDIA_DRIVER.exists():
        return False
    import cucim.clara  # noqa: F401, PLC0415

    return True


if __name__ == "__main__":
    main()

"""The reading process of a slide, as the process that uses the slide sees it.

The two share memory that has no name, so it is freed when both have ended, however they end.
"""

import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.wsi.messages import NEEDS, STATUS, Need

PACKAGE_ROOT = Path(__file__).parents[2]
# cuCIM as it was tested: its plugin for the CPU, with default settings. OpenBLAS gets one thread, since its idle
# threads spin, and a process with threads must not fork. Memory is kept for the next pixels, up to the limits that
# glibc comes to by itself while regions are read: to have it anew from the system takes a sixth of opening a slide.
ENVIRONMENT = {
    "ENABLE_CUSLIDE2": "0",
    "CUCIM_CONFIG_PATH": "/dev/null/none",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
}


class ReadingProcessDiedError(Exception):
    """The reading process ended; the message says how."""


class Nursery:
    """A process that has imported what readers need and forks a reader per slide, which saves 0.1 s each.

    It starts with the first slide. It ends with the process that started it, and so do its readers.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # slides are opened while others are read
        self._asked_for_cucim = False

    def bear(self, *descriptors: int) -> int:
        """Fork a reading process and pass it these file descriptors; its process id."""
        with self._lock:
            try:
                return self._ask(Need.READER, 0, descriptors)
            except OSError:  # it has not been started, or was killed
                self._start()
                return self._ask(Need.READER, 0, descriptors)

    def end(self, reader: int) -> int:
        """End a reading process unless it has ended; its exit status, negative if a signal ended it."""
        with self._lock:
            try:
                return self._ask(Need.END, reader)
            except OSError:  # the nursery was killed, and its readers with it
                return -signal.SIGKILL

    def import_cucim(self) -> None:
        """Import cuCIM for later readers, now that one reader works with it."""
        with self._lock, suppress(OSError):
            if not self._asked_for_cucim:
                self._asked_for_cucim = True
                self._ask(Need.CUCIM, 0)

    def stop(self) -> None:
        """End the nursery and its readers. It starts again when it is needed."""
        with self._lock:
            self._drop()

    def _ask(self, need: Need, reader: int, descriptors: tuple[int, ...] = ()) -> int:
        try:
            if self._socket is None:
                raise BrokenPipeError
            socket.send_fds(self._socket, [NEEDS.pack(need, reader)], descriptors)
            answer = self._socket.recv(STATUS.size)
            if not answer:
                raise BrokenPipeError
        except (
            BaseException
        ):  # it is gone, or a signal came before its answer; a later request must not get that answer
            self._drop()
            raise
        number: int = STATUS.unpack(answer)[0]
        return number

    def _drop(self) -> None:
        if self._socket and self._process:
            self._socket.close()
            self._process.kill()
            self._process.wait()
        self._socket, self._process = None, None

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        search_path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "slpd.wsi.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": search_path},
                stdin=subprocess.DEVNULL,
            )


NURSERY = Nursery()


class ReadingProcess:
    """A process that reads a slide. It answers requests in order; several may be pending."""

    def __init__(self) -> None:
        self._memory_file = os.memfd_create("slide", os.MFD_CLOEXEC)
        self._memory = np.empty(0, np.uint8)
        self._connection, theirs = Pipe()
        with theirs:
            self.number = NURSERY.bear(theirs.fileno(), self._memory_file)
        self._status: int | None = None

    def memory(self, n_bytes: int) -> NDArray[np.uint8]:
        """At least `n_bytes` of memory for the pixels. Arrays from earlier, smaller memory stay valid."""
        if n_bytes > len(self._memory):
            os.ftruncate(self._memory_file, n_bytes)
            self._memory = np.frombuffer(mmap.mmap(self._memory_file, n_bytes), np.uint8)
        return self._memory

    def send(self, request: object) -> None:
        """Send a request; `receive` returns its answer."""
        try:
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def receive(self) -> object:
        """The answer to the oldest pending request."""
        try:
            answer: object = self._connection.recv()
            return answer
        except (EOFError, ConnectionResetError):
            raise self._death() from None

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        self._memory = np.empty(0, np.uint8)
        self._end()
        if self._memory_file >= 0:
            os.close(self._memory_file)
            self._memory_file = -1

    def _end(self) -> int:
        if self._status is None:
            self._status = NURSERY.end(self.number)
        return self._status

    def _death(self) -> ReadingProcessDiedError:
        status = self._end()
        return ReadingProcessDiedError(signal.Signals(-status).name if status < 0 else f"exit status {status}")

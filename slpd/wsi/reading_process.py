"""The reading process of a slide, seen from the process that uses the slide.

The two share memory without a name: it is gone when both are, however they end.
"""

import mmap
import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PACKAGE_ROOT = Path(__file__).parents[2]
# cuCIM as it was tested: its plugin for the CPU, its own settings. Matrix products in one thread, for the bands of a
# region are resampled side by side already, and idle threads of OpenBLAS spin.
ENVIRONMENT = {"ENABLE_CUSLIDE2": "0", "CUCIM_CONFIG_PATH": "/dev/null/none", "OPENBLAS_NUM_THREADS": "1"}


class ReadingProcessDiedError(Exception):
    """The reading process ended; the message says how."""


class ReadingProcess:
    """A process that reads a slide. Requests are answered in their order; several may wait."""

    def __init__(self) -> None:
        self._memory_file = os.memfd_create("slide", os.MFD_CLOEXEC)
        self._memory = np.empty(0, np.uint8)
        self._connection, theirs = Pipe()
        search_path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "slpd.wsi.worker", str(theirs.fileno()), str(self._memory_file)],
                pass_fds=(theirs.fileno(), self._memory_file),
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": search_path},
                stdin=subprocess.DEVNULL,
            )

    def memory(self, n_bytes: int) -> NDArray[np.uint8]:
        """At least so many bytes that the process writes pixels to; arrays of smaller memory stay as they are."""
        if n_bytes > len(self._memory):
            os.ftruncate(self._memory_file, n_bytes)
            self._memory = np.frombuffer(mmap.mmap(self._memory_file, n_bytes), np.uint8)
        return self._memory

    def send(self, request: object) -> None:
        """Ask for something; `receive` gives the answer."""
        try:
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def receive(self) -> object:
        """The answer to the oldest request that was not answered yet."""
        try:
            answer: object = self._connection.recv()
            return answer
        except (EOFError, ConnectionResetError):
            raise self._death() from None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        self._memory = np.empty(0, np.uint8)
        self._process.kill()
        self._process.wait()
        if self._memory_file >= 0:
            os.close(self._memory_file)
            self._memory_file = -1

    def _death(self) -> ReadingProcessDiedError:
        status = self._process.wait()
        return ReadingProcessDiedError(signal.Signals(-status).name if status < 0 else f"exit status {status}")

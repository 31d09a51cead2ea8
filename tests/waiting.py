"""Waiting for what another process does. No deadline: a busy machine exceeds any; the limit of a test ends a hang."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_until(
    holds: Callable[[], object], what: str, process: subprocess.Popen[Any] | None = None, every: float = 0.001
) -> None:
    """Wait for something that must come.

    Args:
        holds: Whether it is there.
        what: Names it in the message of a failure.
        process: Brings it: one that ends before is a failure.
        every: Seconds between two looks.
    """
    while not holds():
        assert process is None or process.poll() is None, f"ended before: {what}"
        time.sleep(every)

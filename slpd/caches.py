"""Folders in which libraries keep what they have compiled, moved where the home is not writable.

Homes are read-only, full or absent on many compute nodes. CuPy then fails to import, and cuCIM with it, without which
slides are read several times slower; the others compile again in every process, or fail.
"""

import os
import tempfile
from pathlib import Path

# Variable that names the folder -> where it is in the home if the variable is not set.
CACHES = {
    "XDG_CACHE_HOME": ".cache",
    "CUPY_CACHE_DIR": ".cupy/kernel_cache",
    "MPLCONFIGDIR": ".config/matplotlib",
    "TRITON_CACHE_DIR": ".triton/cache",
    "CUDA_CACHE_PATH": ".nv/ComputeCache",
}


def use_writable_caches() -> dict[str, str]:
    """Move every cache that is not writable, for this process and those it starts, by its variable.

    Returns:
        Variable -> the folder that cannot be written.
    """
    faults = unwritable()
    if faults:
        folder = own_folder()
        os.environ |= {name: str(folder / name.lower()) for name in faults}
    return faults


def unwritable() -> dict[str, str]:
    """The caches that cannot be written where they are: variable -> folder."""
    folders = {name: Path(os.environ.get(name) or home() / below) for name, below in CACHES.items()}
    return {name: str(folder) for name, folder in folders.items() if not can_write(folder)}


def home() -> Path:
    """The home of this user, who may have none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def can_write(folder: Path) -> bool:
    """Whether files can be written into a folder or its nearest parent; permissions do not show full disks."""
    present = next(path for path in (folder, *folder.parents) if os.path.isdir(path))  # noqa: PTH112  # never fails
    try:
        with tempfile.TemporaryFile(dir=present) as file:
            file.write(b"x")
            file.flush()
    except OSError:
        return False
    return True


def own_folder() -> Path:
    """A folder of this user alone for temporary files, the same for all processes on a machine."""
    folder = Path(tempfile.gettempdir()) / f"slpd-caches-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if folder.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix="slpd-caches-"))

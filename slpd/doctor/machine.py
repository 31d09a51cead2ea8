"""Checks of this machine: packages, GPU, faiss, decoding of slides, scratch space."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from slpd.caches import CACHES, home, own_folder
from slpd.doctor.compiler import compiler
from slpd.doctor.finding import Finding

PACKAGES = ("cucim", "torch", "timm", "h5py", "openslide", "faiss", "sklearn", "snakemake")
PLUGIN = "snakemake-executor-plugin-slurm"
PLUGIN_LEAST = (2, 8)  # earlier versions start training on several GPUs twice, or do not let SLURM requeue jobs


def machine_findings(copy_to: str | None, largest_slide: int) -> Iterator[Finding]:
    """One finding per check.

    Args:
        copy_to: `jobs.copy_to`.
        largest_slide: Size of the largest slide, bytes.
    """
    yield Finding("machine", True, f"{platform.node()}, Python {platform.python_version()}")
    yield caches()
    yield from packages()
    yield plugin()
    yield gpu()
    yield compiler()
    yield faiss_on_gpu()
    yield decoding()
    yield scratch(copy_to, largest_slide)


def caches() -> Finding:
    """Check where libraries cache what they compile. `slpd.__main__` moves caches out of a home that is read-only."""
    moved = [name for name in CACHES if os.environ.get(name, "").startswith(str(own_folder()))]
    if not moved:
        return Finding("caches", True, f"in {home()}")
    found = f"{home()} cannot be written (read-only, full or absent): stages keep {', '.join(moved)} in {own_folder()}"
    return Finding(
        "caches", True, found, "snakemake itself, without our profiles, needs: export XDG_CACHE_HOME=<folder>"
    )


def packages() -> Iterator[Finding]:
    """Check that all packages import. cuCIM comes first, because it hangs if imported after torch."""
    faults: dict[str, Exception] = {}
    for name in PACKAGES:
        try:
            import_module(name)
        except Exception as error:  # any error is a finding
            faults[name] = error
    remedy = remedy_of(faults) if faults else ""
    named = ", ".join(f"{name} ({error})" for name, error in faults.items())
    yield Finding("packages", not faults, f"cannot import {named}" if faults else "all import", remedy)


def remedy_of(faults: Mapping[str, Exception]) -> str:
    """What to do about packages that do not import. Those that could not write a file are installed correctly."""
    if all(isinstance(error, OSError) and error.filename for error in faults.values()):
        return "make the folders that are named writable, or set the variables of their caches to others"
    return "install envs/requirements.lock again: make setup"


def plugin() -> Finding:
    """Check that the SLURM plugin is recent enough for the profile."""
    try:
        found = version(PLUGIN)
    except PackageNotFoundError:
        return Finding("SLURM plugin", False, "not installed", f"pip install {PLUGIN}")
    good = tuple(map(int, found.split(".")[:2])) >= PLUGIN_LEAST
    return Finding("SLURM plugin", good, found, "" if good else "2.8 or later: make setup")


def gpu() -> Finding:
    """The GPUs that torch sees."""
    import torch  # noqa: PLC0415  # after cuCIM

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if not names:
        return Finding("GPU", True, "none here", "training and encoding use the cores; on a node: doctor --on-node")
    torch.ones(8, device="cuda").sum().item()
    return Finding("GPU", True, ", ".join(names))


def faiss_on_gpu() -> Finding:
    """Check whether k-means runs on a GPU."""
    import faiss  # noqa: PLC0415

    count = getattr(faiss, "get_num_gpus", lambda: 0)()
    if not count:
        return Finding("faiss", True, "on the cores: no GPU for it here")
    points = np.random.default_rng(0).random((64, 8), np.float32)
    faiss.Kmeans(8, 4, gpu=True).train(points)
    return Finding("faiss", True, f"on {count} GPUs")


def decoding() -> Finding:
    """Which reader reads a JPEG slide as OpenSlide does."""
    import tifffile  # noqa: PLC0415

    from slpd.wsi.region_readers import Request, decoding_device, open_for_regions  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tiff"
        picture = np.random.default_rng(0).integers(100, 200, (512, 512, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        resolution = (20000, 20000)
        tifffile.imwrite(
            path,
            picture,
            photometric="rgb",
            tile=(256, 256),
            compression="jpeg",
            resolution=resolution,
            resolutionunit=3,
        )
        with ExitStack() as stack:
            request, device = Request("test", path, None, 0.5, 1024), decoding_device()
            reader = open_for_regions(request, "auto", device, stack).regions
            found, reason = reader.reader, reader.reader_reason
    fastest = "cucim" if device is None else "nvjpeg"
    remedy = "" if found == fastest else f"{fastest} would be several times faster: {reason}"
    return Finding("decoding", True, f"a tiled JPEG slide is read by {found}", remedy)


def results(n_bytes: float) -> Finding:
    """Check that there is room here for results of so many bytes."""
    free = shutil.disk_usage(".").free
    found = f"{free / 1e9:.1f} GB free here, about {n_bytes / 1e9:.1f} GB of results wanted"
    return Finding("results", free >= n_bytes, found, "" if free >= n_bytes else "make room, or start on a larger disk")


def scratch(copy_to: str | None, largest_slide: int) -> Finding:
    """Check that slides fit into the folder to which they are copied before they are read."""
    if copy_to is None:
        return Finding("scratch", True, "jobs.copy_to is null: slides are read in place")
    if not Path(copy_to).is_dir():
        return Finding("scratch", False, f"jobs.copy_to is {copy_to}: no such folder here", "ask on a node: --on-node")
    free, needed = shutil.disk_usage(copy_to).free, 2 * largest_slide  # one is read while the next is copied
    remedy = "" if free >= needed else "set jobs.copy_to to a larger disk, or null"
    found = f"{copy_to}: {free / 1e9:.1f} GB free, two of the largest slides have {needed / 1e9:.1f} GB"
    return Finding("scratch", free >= needed, found, remedy)
